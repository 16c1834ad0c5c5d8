// Each scenario is one story against a running server:  node scenarios.mjs NAME BASE_URL FOLDER
//
// "RESTART" on standard output asks the test to restart the server; it answers with a line.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { meet, Person, sdk, until } from "./person.mjs";

const [name, baseUrl, folder] = process.argv.slice(2);

const scenarios = {
    async talk() {
        const { alice, bob, roomId } = await meet(baseUrl);
        assert.equal(bob.room(roomId).name, "Tea");
        const hello = await alice.say(roomId, "Hello Bob");
        assert.equal((await bob.seen(roomId, hello)).getContent().body, "Hello Bob");
        const answer = await bob.say(roomId, "Hello Alice");
        await alice.seen(roomId, answer);
        await alice.seen(roomId, hello);
        assert.deepEqual(alice.texts(roomId), ["Hello Bob", "Hello Alice"]); // the local echo is not doubled
        await alice.client.leave(roomId);
        await until("Bob sees Alice leave", () => bob.room(roomId).getMember(alice.id).membership === "leave");
    },

    async picture() {
        const { alice, bob, roomId } = await meet(baseUrl);
        const data = readFileSync(join(folder, "picture.png"));
        const { content_uri: uri } = await alice.client.uploadContent(data, { type: "image/png", name: "tea.png" });
        const { event_id: sent } = await alice.client.sendEvent(roomId, "m.room.message", {
            msgtype: "m.image", body: "tea.png", url: uri, info: { mimetype: "image/png", size: data.length },
        });
        const { url } = (await bob.seen(roomId, sent)).getContent();
        const get = async (http) => {
            const headers = { Authorization: `Bearer ${bob.session.access_token}` };
            const response = await fetch(http, { headers });
            assert.equal(response.status, 200);
            return Buffer.from(await response.arrayBuffer());
        };
        const original = bob.client.mxcUrlToHttp(url, undefined, undefined, undefined, false, true, true);
        assert.ok((await get(original)).equals(data));
        const small = await get(bob.client.mxcUrlToHttp(url, 96, 96, "crop", false, true, true));
        assert.equal(small.subarray(1, 4).toString(), "PNG");
        assert.deepEqual([small.readUInt32BE(16), small.readUInt32BE(20)], [96, 96]);
        assert.ok((await alice.client.getMediaConfig(true))["m.upload.size"] > 1e6);
    },

    async relations() {
        const { alice, bob, roomId } = await meet(baseUrl);
        const first = await alice.say(roomId, "Green tae?");
        await bob.seen(roomId, first);
        await alice.client.sendMessage(roomId, {
            "msgtype": "m.text", "body": "* Green tea?",
            "m.new_content": { msgtype: "m.text", body: "Green tea?" },
            "m.relates_to": { rel_type: "m.replace", event_id: first },
        });
        await until("Bob sees the edit", () => bob.room(roomId).findEventById(first).getContent().body === "Green tea?");

        const { event_id: reply } = await bob.client.sendMessage(roomId, {
            "msgtype": "m.text", "body": "Yes", "m.relates_to": { "m.in_reply_to": { event_id: first } },
        });
        assert.equal((await alice.seen(roomId, reply)).replyEventId, first);

        await bob.client.sendEvent(roomId, "m.reaction", {
            "m.relates_to": { rel_type: "m.annotation", event_id: first, key: "🍵" },
        });
        const reactions = await until("Alice sees the reaction", () =>
            alice.room(roomId).relations.getChildEventsForEvent(first, "m.annotation", "m.reaction")
                ?.getSortedAnnotationsByKey());
        assert.deepEqual(reactions.map(([key, events]) => [key, events.size]), [["🍵", 1]]);

        await bob.client.redactEvent(roomId, reply, undefined, { reason: "Coffee!" });
        await until("Alice sees it gone", () => alice.room(roomId).findEventById(reply).isRedacted());

        const tablet = await Person.logIn(baseUrl, "bob");
        await tablet.inRoom(roomId);
        await until("a new device shows the edit", () => tablet.texts(roomId).includes("Green tea?"));
        assert.ok(tablet.room(roomId).findEventById(reply).isRedacted());
    },

    async presence_of_mind() {
        const { alice, bob, roomId } = await meet(baseUrl);
        await bob.client.sendTyping(roomId, true, 20_000);
        await until("Bob types", () => alice.room(roomId).getMember(bob.id).typing);
        await bob.client.sendTyping(roomId, false, 0);
        await until("Bob has stopped", () => !alice.room(roomId).getMember(bob.id).typing);

        const question = await alice.say(roomId, "Are you there?");
        const event = await bob.seen(roomId, question);
        const unread = () => bob.room(roomId).getUnreadNotificationCount("total");
        await until("Bob has one unread", () => unread() === 1);
        await bob.client.sendReadReceipt(event);
        await until("Bob has read", () => unread() === 0);
        const asked = await alice.seen(roomId, question);
        await until("Alice sees that", () => alice.room(roomId).getUsersReadUpTo(asked).includes(bob.id));
        await bob.client.setRoomReadMarkers(roomId, question, event);
        await until("the marker is there", () =>
            bob.room(roomId).getAccountData("m.fully_read")?.getContent().event_id === question);
    },

    async history() {
        const { alice, bob, roomId } = await meet(baseUrl);
        const texts = [];
        for (let number = 0; number < 45; number++) {
            texts.push(`message ${number}`);
            await alice.say(roomId, texts.at(-1));
        }
        bob.stop();
        const tablet = await Person.logIn(baseUrl, "bob");
        const room = await tablet.inRoom(roomId);
        assert.ok(tablet.texts(roomId).length <= 8);
        while (room.oldState.paginationToken !== null) await tablet.client.scrollback(room, 10);
        assert.deepEqual(tablet.texts(roomId), texts);
        assert.equal(room.getLiveTimeline().getEvents()[0].getType(), "m.room.create");

        const middle = room.getLiveTimeline().getEvents().find((event) => event.getContent().body === "message 20");
        const laptop = await Person.logIn(baseUrl, "bob");
        await laptop.inRoom(roomId);
        const set = laptop.room(roomId).getUnfilteredTimelineSet();
        const timeline = await laptop.client.getEventTimeline(set, middle.getId());
        assert.ok(timeline.getEvents().some((event) => event.getId() === middle.getId()));
    },

    async lazy_members() {
        const { alice, roomId } = await meet(baseUrl);
        const carol = await Person.register(baseUrl, "carol");
        await alice.client.invite(roomId, carol.id);
        await carol.client.joinRoom(roomId);
        await carol.client.setDisplayName("Carol C.");
        for (let number = 0; number < 12; number++) await alice.say(roomId, `message ${number}`);
        const tablet = await Person.logIn(baseUrl, "alice");
        const room = await tablet.inRoom(roomId);
        assert.ok(room.getJoinedMembers().length < 3, "members came before they were needed");
        assert.equal(room.getJoinedMemberCount(), 3);
        await room.loadMembersIfNeeded();
        assert.equal(room.getJoinedMembers().length, 3);
        await until("Carol's name", () => room.getMember(carol.id).name === "Carol C.");
    },

    async threads() {
        const { alice, bob, roomId } = await meet(baseUrl);
        const root = await alice.say(roomId, "Which tea?");
        await bob.seen(roomId, root);
        const inThread = async (person, text) =>
            (await person.client.sendMessage(roomId, root, { msgtype: "m.text", body: text })).event_id;
        await inThread(bob, "Green");
        await inThread(bob, "Or black");
        const thread = await until("Alice has the thread", () => alice.room(roomId).getThread(root));
        await until("with both answers", () => thread.length === 2 && thread.initialEventsFetched);
        const bodies = () => thread.timeline.map((event) => event.getContent().body);
        await until("in order", () => bodies().join() === "Which tea?,Green,Or black");
        assert.deepEqual(alice.texts(roomId), ["Which tea?"]); // not in the main timeline

        const tablet = await Person.logIn(baseUrl, "alice");
        const room = await tablet.inRoom(roomId);
        await room.createThreadsTimelineSets();
        await room.fetchRoomThreads();
        assert.deepEqual(room.getThreads().map((each) => [each.id, each.length]), [[root, 2]]);

        const last = thread.timeline.at(-1);
        const receipts = [];
        bob.client.on(sdk.RoomEvent.Receipt, (event) => receipts.push(event.getContent()));
        await alice.client.sendReadReceipt(last);
        await until("Bob gets her receipt in the thread", () =>
            receipts.some((each) => each[last.getId()]?.["m.read"]?.[alice.id]?.thread_id === root));
    },

    async restart() {
        const storePath = join(folder, "bob.json");
        const { alice, bob, roomId } = await meet(baseUrl, { storePath });
        const before = await alice.say(roomId, "Before");
        await bob.seen(roomId, before);
        await bob.client.store.save();
        bob.stop();
        const missed = await alice.say(roomId, "While you were away");
        await alice.seen(roomId, missed);

        console.log("RESTART");
        await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next();

        const again = await new Person(baseUrl, bob.session, { storePath }).start();
        await again.seen(roomId, missed);
        const after = await again.say(roomId, "After");
        await alice.seen(roomId, after); // her sync loop found the server again by itself
        await again.seen(roomId, after);
        assert.deepEqual(again.texts(roomId), ["Before", "While you were away", "After"]);
        assert.deepEqual(alice.texts(roomId), ["Before", "While you were away", "After"]);
    },

    async account() {
        const { alice, bob, roomId } = await meet(baseUrl);
        await alice.client.setDisplayName("Alice A.");
        await until("Bob sees the name", () => bob.room(roomId).getMember(alice.id).name === "Alice A.");
        await alice.client.setAccountData("org.example.tea", { favourite: "green" });
        await until("account data comes back", () =>
            alice.client.getAccountData("org.example.tea")?.getContent().favourite === "green");
        await alice.client.setRoomTag(roomId, "m.favourite", { order: 0.5 });
        await until("the tag comes back", () => alice.room(roomId).tags["m.favourite"]?.order === 0.5);
        const tablet = await Person.logIn(baseUrl, "alice");
        assert.equal((await tablet.client.getDevices()).devices.length, 2);
        await tablet.client.logout(true);
        const refusal = await tablet.client.whoami().catch((error) => error);
        assert.equal(refusal.errcode, "M_UNKNOWN_TOKEN");
        assert.equal((await alice.client.whoami()).user_id, alice.id);
    },
};

assert.ok(name in scenarios, `There is no scenario ${name}: ${Object.keys(scenarios).join(" ")}`);
assert.ok(sdk.MatrixClient);
try {
    await scenarios[name]();
    console.log("DONE");
    process.exit(0);
} catch (error) {
    console.log(error.stack);
    process.exit(1);
}
