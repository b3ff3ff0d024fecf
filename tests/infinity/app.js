// An app without a screen. Each line of its input is a command, [name, argument] in JSON; each is answered by one line.
import { createInterface } from 'node:readline';
import * as api from '@pexip/infinity-api';

// The client's own checks of what it sends and gets throw here, and the error is the answer.
const commands = { join, call, refresh, participants, status, watch, event, disconnect, leave };

let host;
let params;
let token;
let shown;

async function join({ node, alias, pin, name }) {
    host = node;
    params = { conferenceAlias: alias };
    const fetcher = pin === null ? fetch : api.withPin(fetch, pin);
    const answer = plain(await api.requestToken({ fetcher, host, params, body: { display_name: name } }));
    if (answer.status === 200) {
        token = answer.result.token;
        params.participantUuid = answer.result.participant_uuid;
    }
    return answer;
}

async function call() {
    const offer = { call_type: 'WEBRTC', sdp: 'v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n' };
    const answer = plain(await api.callsWebrtcParticipant({ fetcher: member(), host, params, body: offer }));
    const callUuid = answer.result.call_uuid;
    await api.ack({ fetcher: member(), host, params: { ...params, callUuid }, body: {} });
    return answer;
}

async function refresh() {
    const answer = plain(await api.refreshToken({ fetcher: member(), host, params }));
    if (answer.status === 200) {
        token = answer.result.token;
    }
    return answer;
}

async function participants() {
    return plain(await api.participants({ fetcher: member(), host, params }));
}

async function status() {
    return plain(await api.conferenceStatus({ fetcher: member(), host, params }));
}

// As the client's EventSource does it, which Node does not have.
async function watch() {
    const alias = encodeURIComponent(params.conferenceAlias);
    const stream = await fetch(`${host}/api/client/v2/conferences/${alias}/events?token=${token}`);
    shown = serverSent(stream.body);
    return { status: stream.status };
}

// The next one of this name, null when the stream has ended without it.
async function event(wanted) {
    for (;;) {
        const { value, done } = await shown.next();
        if (done) {
            return null;
        }
        if (value.event === wanted) {
            return JSON.parse(value.data);
        }
    }
}

async function disconnect() {
    return plain(await api.disconnect({ fetcher: member(), host, params }));
}

async function leave() {
    return plain(await api.releaseToken({ fetcher: member(), host, params, body: {} }));
}

function member() {
    return api.withToken(fetch, token);
}

function plain({ status, data }) {
    return { status, result: data.result };
}

async function* serverSent(body) {
    let text = '';
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
        text += chunk;
        const events = text.split('\n\n');
        text = events.pop();
        for (const fields of events) {
            yield Object.fromEntries(fields.split('\n').map((field) => field.split(/: (.*)/)));
        }
    }
}

for await (const line of createInterface({ input: process.stdin })) {
    const [name, argument] = JSON.parse(line);
    const answer = await commands[name](argument).catch((error) => ({ error: String(error) }));
    console.log(JSON.stringify(answer));
}
// A stream of events would keep the process alive.
process.exit();
