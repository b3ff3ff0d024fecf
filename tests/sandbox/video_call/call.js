// <video-call>: a call in a room on a Pexip Conferencing Node, with the vendor's own client package.
//
// join({ node, alias, pin, name }) joins, leave() hangs up. Its attribute `data-state` is one of
//
//   idle → preparing → joining → waiting (for a host) ⇄ talking → left | over | refused
//
// and each change is an event `callstate` whose detail has `state` and, at the end, the node's `reason` in its own words.
// A page may set `beforeLeaving`, which is done before the node is told; it gives true if the node ends the call for all.
// Attributes: `waits-for` names the host, such as "an agent"; with `video-only` no sound is sent or played, the voices go by
// telephone.
import { ClientCallType, createCallSignals, createInfinityClient, createInfinityClientSignals } from './infinity.js';

const template = document.createElement('template');
template.innerHTML = `
    <p class="status" role="status"></p>
    <div class="stage">
        <video class="remote" autoplay playsinline aria-label="Picture of the other side"></video>
        <p class="no-picture"></p>
        <video class="local" autoplay playsinline muted aria-label="Your own picture"></video>
    </div>
    <p class="devices" role="note" hidden></p>
    <div class="controls" role="group" aria-label="Your call">
        <button type="button" class="microphone">Mute</button>
        <button type="button" class="camera">Stop camera</button>
        <button type="button" class="leave danger">Leave</button>
    </div>
    <section class="people" aria-labelledby="video-call-people">
        <h2 id="video-call-people">In the room</h2>
        <ul></ul>
    </section>`;

const statusTexts = {
    preparing: 'Asking for your camera and microphone…',
    joining: 'Joining the room…',
    talking: 'You are in the call.',
};

// Highest rate of the media, in kbit/s.
const BANDWIDTH = 1264;

// From the end of the other side's media to a new offer, in milliseconds.
const PAUSE = 1000;

// How long a node has to end a call for all, in milliseconds.
const END_LIMIT = 5000;

const pause = (time) => new Promise((done) => { setTimeout(done, time); });

const ended = ['left', 'over', 'refused'];

export class VideoCall extends HTMLElement {
    #client;
    #disconnected;
    #media;
    #me;
    #remote;
    #parts;
    #callType = ClientCallType.AudioVideo;
    // Counts joins and their ends: what an earlier join still waits for does not change a later one.
    #attempt = 0;
    #closed = () => this.#client?.disconnect({ reason: 'Browser closed' });

    connectedCallback() {
        if (this.#parts) {
            return;
        }
        this.append(template.content.cloneNode(true));
        const part = (name) => this.querySelector(name);
        this.#parts = {
            status: part('.status'), remote: part('.remote'), noPicture: part('.no-picture'), local: part('.local'),
            devices: part('.devices'), microphone: part('.microphone'), camera: part('.camera'), people: part('ul'),
        };
        this.#parts.microphone.addEventListener('click', ({ target }) => this.#toggle(target, 'audio', 'Mute', 'Unmute'));
        this.#parts.camera.addEventListener('click', ({ target }) => this.#toggle(target, 'video', 'Stop camera', 'Start camera'));
        part('.leave').addEventListener('click', () => this.leave());
        this.#parts.remote.muted = this.hasAttribute('video-only');
        this.dataset.state = 'idle';
    }

    disconnectedCallback() {
        this.leave();
    }

    get state() {
        return this.dataset.state;
    }

    async join({ node, alias, pin, name }) {
        if (this.state !== 'idle' && !ended.includes(this.state)) {
            return;
        }
        const address = new URL(node);
        this.#me = undefined;
        this.#showPeople([]);
        this.#attempt += 1;
        const attempt = this.#attempt;
        this.#show('preparing');
        const media = await this.#openDevices();
        if (attempt !== this.#attempt) {
            media?.getTracks().forEach((track) => track.stop());
            return;
        }
        this.#media = media;
        this.#showDevices();
        this.#show('joining');
        this.#connect();
        window.addEventListener('pagehide', this.#closed);
        try {
            await this.#client.call({
                node: address.host, host: address.origin, conferenceAlias: alias, pin, displayName: name,
                bandwidth: BANDWIDTH, callType: this.#callType, mediaStream: this.#media,
            });
        } catch (error) {
            if (attempt === this.#attempt) {
                this.#end('refused', error.message);
            }
        }
    }

    async leave() {
        if (this.state === 'idle' || ended.includes(this.state)) {
            return;
        }
        const [client, disconnected] = [this.#client, this.#disconnected];
        this.#end('left');
        const isEnding = await this.beforeLeaving?.();
        const isOver = isEnding && await Promise.race([disconnected, pause(END_LIMIT)]);
        if (!isOver) {
            // The node may be gone; its own limit ends the call then.
            await client?.disconnect({ reason: 'User initiated disconnect' }).catch(() => {});
        }
    }

    #connect() {
        const signals = createInfinityClientSignals([], { batchScheduleTimeoutMS: 100, batchBufferSize: 10 });
        const callSignals = createCallSignals([]);
        const client = createInfinityClient(signals, callSignals);
        this.#client = client;
        this.#disconnected = new Promise((done) => { signals.onDisconnected.addOnce(() => done(true)); });
        // Signals of a call that has ended do not change what is shown.
        const on = (signal, act) => signal.add((value) => client === this.#client && act(value));
        const showPeople = () => {
            this.#me = client.getMe('main')?.uuid;
            this.#showPeople(client.getParticipants('main'));
        };
        on(signals.onParticipants, showPeople);
        on(signals.onParticipantJoined, showPeople);
        on(signals.onParticipantUpdated, showPeople);
        on(signals.onParticipantLeft, showPeople);
        on(signals.onConferenceStatus, ({ status }) => {
            this.#show(status.started ? 'talking' : 'waiting');
        });
        on(signals.onPinRequired, () => this.#end('refused', 'PIN required'));
        on(signals.onError, ({ error, errorCode }) => {
            // Of media: the call goes on without.
            if (errorCode !== '#pex117' && errorCode !== '#pex128') {
                this.#end('refused', error);
            }
        });
        on(signals.onDisconnected, ({ error }) => this.#end('over', error));
        on(callSignals.onRemoteStream, (stream) => this.#showRemote(stream));
        // With direct media the other side has gone: offer media to the next one, unless it has ended the call for all.
        on(signals.onPeerDisconnect, () => {
            this.#showRemote(undefined);
            pause(PAUSE).then(() => client === this.#client && this.#offerMedia());
        });
    }

    #offerMedia() {
        const offer = { bandwidth: BANDWIDTH, callType: this.#callType, mediaStream: this.#media };
        // The client reports what fails.
        this.#client.restartCall(offer).catch(() => {});
    }

    // What there is of camera and microphone: one can join without either.
    async #openDevices() {
        let stream;
        const isVideoOnly = this.hasAttribute('video-only');
        const tries = isVideoOnly ? [{ video: true }] : [{ audio: true, video: true }, { video: true }, { audio: true }];
        for (const wanted of tries) {
            stream ??= await navigator.mediaDevices?.getUserMedia(wanted).catch(() => undefined);
        }
        return stream;
    }

    #showDevices() {
        const [stream, isVideoOnly] = [this.#media, this.hasAttribute('video-only')];
        const { local, devices, microphone, camera } = this.#parts;
        const [hasAudio, hasVideo] = ['audio', 'video'].map((kind) => stream?.getTracks().some((track) => track.kind === kind));
        local.srcObject = stream ?? null;
        local.hidden = !hasVideo;
        microphone.hidden = !hasAudio;
        camera.hidden = !hasVideo;
        const missing = [hasVideo ? [] : 'camera', hasAudio || isVideoOnly ? [] : 'microphone'].flat().join(' and no ');
        devices.hidden = !missing;
        devices.textContent = missing && `No ${missing}: there is none, or this page may not use it. You can take part without.`;
    }

    #closeDevices() {
        this.#media?.getTracks().forEach((track) => track.stop());
        this.#media = undefined;
        this.#parts.local.srcObject = null;
        this.#parts.microphone.textContent = 'Mute';
        this.#parts.camera.textContent = 'Stop camera';
    }

    #toggle(button, kind, on, off) {
        const tracks = this.#media?.getTracks().filter((track) => track.kind === kind) ?? [];
        const stops = tracks.some((track) => track.enabled);
        tracks.forEach((track) => { track.enabled = !stops; });
        button.textContent = stops ? off : on;
    }

    #showRemote(stream) {
        const hasPicture = stream?.getVideoTracks().length > 0;
        if (this.#remote !== stream) {
            this.#remote = stream;
            this.#parts.remote.srcObject = stream ?? null;
        }
        this.toggleAttribute('data-has-picture', hasPicture);
    }

    #showPeople(people) {
        const sorted = [...people].sort((one, other) => one.startTime - other.startTime);
        this.#parts.people.replaceChildren(...sorted.map((person) => {
            const item = document.createElement('li');
            const name = document.createElement('span');
            name.textContent = person.displayName || 'Somebody';
            item.append(name);
            const badges = [
                person.uuid === this.#me && 'you', person.isHost && 'host', person.protocol === 'sip' && 'telephone',
            ];
            for (const badge of badges.filter(Boolean)) {
                const element = document.createElement('small');
                element.textContent = badge;
                item.append(' ', element);
            }
            return item;
        }));
        const others = sorted.filter((person) => person.uuid !== this.#me && person.protocol !== 'sip').length;
        const texts = ['Nobody else is here yet', 'No picture yet'];
        this.#parts.noPicture.textContent = texts[others] ?? 'No picture: only two people send each other theirs directly';
    }

    #show(state, reason) {
        const waiting = `You are in the room. Waiting for ${this.getAttribute('waits-for') ?? 'a host'}…`;
        const text = state === 'waiting' ? waiting : statusTexts[state] ?? '';
        // A screen reader reads each change, so nothing is written twice.
        if (this.#parts.status.textContent !== text) {
            this.#parts.status.textContent = text;
        }
        if (state !== this.state) {
            this.dataset.state = state;
            this.dispatchEvent(new CustomEvent('callstate', { bubbles: true, detail: { state, reason } }));
        }
    }

    #end(state, reason) {
        if (ended.includes(this.state)) {
            return;
        }
        this.#attempt += 1;
        this.#client = undefined;
        window.removeEventListener('pagehide', this.#closed);
        this.#closeDevices();
        this.#showRemote(undefined);
        this.#show(state, reason);
    }
}

customElements.define('video-call', VideoCall);
