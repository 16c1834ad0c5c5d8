// One person's client: matrix-js-sdk with its own sync loop, lazy-loaded members and threads.

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import * as sdk from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

logger.setLevel("error");
export { sdk };

export const PASSWORD = "correct horse battery staple";
const PATIENCE_MS = 20_000;

/** What the condition gives once it is truthy; it is asked again and again. */
export async function until(what, condition) {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
        const met = await condition();
        if (met) return met;
        if (Date.now() > deadline) throw new Error(`Waited in vain until ${what}`);
        await new Promise((go) => setTimeout(go, 30));
    }
}

/** A store that survives the program, as IndexedDB does in a browser: account, sync token and rooms. */
class FileStore extends sdk.MemoryStore {
    constructor(path) {
        super();
        this.path = path;
        this.accumulator = new sdk.SyncAccumulator();
        this.saved = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : null;
        if (this.saved) {
            this.accumulator.accumulate({
                next_batch: this.saved.nextBatch,
                rooms: this.saved.roomsData,
                account_data: { events: this.saved.accountData },
            }, true);
        }
    }

    async getSavedSync() {
        return this.saved;
    }

    async getSavedSyncToken() {
        return this.saved?.nextBatch ?? null;
    }

    async setSyncData(data) {
        this.accumulator.accumulate(data);
    }

    wantsSave() {
        return true;
    }

    async save() {
        writeFileSync(this.path, JSON.stringify(this.accumulator.getJSON(true)));
    }
}

export class Person {
    constructor(baseUrl, session, { storePath = null, syncLimit = 8 } = {}) {
        this.session = session;
        this.syncLimit = syncLimit;
        this.client = sdk.createClient({
            baseUrl,
            userId: session.user_id,
            accessToken: session.access_token,
            deviceId: session.device_id,
            timelineSupport: true,
            disableVoip: true,
            store: storePath ? new FileStore(storePath) : new sdk.MemoryStore(),
        });
    }

    static async register(baseUrl, name, options) {
        const client = sdk.createClient({ baseUrl });
        const wanted = { username: name, password: PASSWORD, initial_device_display_name: `${name}'s phone` };
        const refusal = await client.registerRequest(wanted).then(
            () => assert.fail("registration must ask for a stage"),
            (error) => error,
        );
        assert.equal(refusal.httpStatus, 401);
        const auth = { type: "m.login.dummy", session: refusal.data.session };
        const session = await client.registerRequest({ ...wanted, auth });
        return await new Person(baseUrl, session, options).start();
    }

    static async logIn(baseUrl, name, options) {
        const client = sdk.createClient({ baseUrl });
        const identifier = { type: "m.id.user", user: name };
        const session = await client.loginRequest({ type: "m.login.password", identifier, password: PASSWORD });
        return await new Person(baseUrl, session, options).start();
    }

    get id() {
        return this.client.getUserId();
    }

    async start() {
        await this.client.startClient({
            initialSyncLimit: this.syncLimit,
            lazyLoadMembers: true,
            threadSupport: true,
            pollTimeout: 5_000,
        });
        await until(`${this.id} has synced`, () => this.client.isInitialSyncComplete());
        return this;
    }

    stop() {
        this.client.stopClient();
    }

    room(roomId) {
        return this.client.getRoom(roomId);
    }

    async inRoom(roomId) {
        return await until(`${this.id} is in the room`, () => {
            const room = this.room(roomId);
            return room?.getMyMembership() === "join" ? room : null;
        });
    }

    async say(roomId, text) {
        return (await this.client.sendMessage(roomId, { msgtype: "m.text", body: text })).event_id;
    }

    /** The event once it has come down the sync and its local echo is settled. */
    async seen(roomId, eventId) {
        return await until(`${this.id} has seen ${eventId}`, () => {
            const event = this.room(roomId)?.findEventById(eventId);
            return event && event.status === null ? event : null;
        });
    }

    /** Bodies of the text messages in the main timeline, oldest first. */
    texts(roomId) {
        const events = this.room(roomId).getLiveTimeline().getEvents();
        return events.filter((event) => event.getType() === "m.room.message").map((event) => event.getContent().body);
    }
}

/** Alice and Bob in a room of Alice's; `options` are Bob's. */
export async function meet(baseUrl, options) {
    const alice = await Person.register(baseUrl, "alice");
    const bob = await Person.register(baseUrl, "bob", options);
    const { room_id: roomId } = await alice.client.createRoom({ name: "Tea", topic: "Leaves", invite: [bob.id] });
    await until("Bob is invited", () => bob.room(roomId)?.getMyMembership() === "invite");
    await bob.client.joinRoom(roomId);
    await bob.inRoom(roomId);
    await alice.inRoom(roomId);
    await until("Alice sees Bob", () => alice.room(roomId).getMember(bob.id)?.membership === "join");
    return { alice, bob, roomId };
}
