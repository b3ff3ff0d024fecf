// The page of a website that has the video call inside. Its server makes the call's room and keeps the secrets: here there
// is only the id of a call, which the shared link has too, and what the server gives for it, node, alias and guest PIN.
import './call/call.js';

const main = document.querySelector('main');
const sections = Object.fromEntries([...main.querySelectorAll(':scope > section')].map((it) => [it.classList[0], it]));
const call = sections.call.querySelector('video-call');
const again = sections.end.querySelector('.again');
const cancel = sections.call.querySelector('.cancel');

// Of the call that is shown: its id; what the server says of it; the right to end it, which only who started it has.
let id;
let room;
let owner;
let name;

// Counts the calls and pages that were opened: what an earlier one still waits for does not change a later one.
let visit = 0;
let stopWaiting = () => {};

// A repetition of a failed start has the same key, so that at most one room is made.
let key;

const problems = {
    410: 'This call is over.',
    429: 'Too many calls are started at the moment.',
    503: 'We cannot start a call at the moment.',
    504: 'It took too long to start the call.',
};

const TIME_IS_OVER = 'Its time has run out.';
const NO_ANSWER = 'Our server cannot be reached. Please try again.';

// From now on another call, or none, is shown.
function beginVisit() {
    visit += 1;
    stopWaiting();
    return visit;
}

function show(section) {
    main.dataset.state = section;
    for (const [name, element] of Object.entries(sections)) {
        element.hidden = name !== section;
    }
}

// Where the server tells and takes what concerns the call.
function address() {
    return `calls/${encodeURIComponent(id)}`;
}

async function ask(method, path, body) {
    const answer = await fetch(path, {
        method, body: body && JSON.stringify(body), headers: body ? { 'content-type': 'application/json' } : {},
    });
    const result = await answer.json().catch(() => ({}));
    return { status: answer.status, ok: answer.ok, result };
}

function explain({ status, result }) {
    const text = problems[status] ?? 'Something went wrong on our side.';
    const wait = result.retryAfter;
    if (status === 410) {
        return text;
    }
    return `${text} Please try again ${wait > 1 ? `in ${wait} seconds` : 'now'}.`;
}

function time(text) {
    return new Date(text).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}

function isAhead(text) {
    return text !== undefined && new Date(text) > new Date();
}

function isLate() {
    return Boolean(room?.validUntil) && !isAhead(room.validUntil);
}

function when() {
    if (isAhead(room?.validFrom)) {
        return `The call opens at ${time(room.validFrom)}.`;
    }
    return room?.validUntil ? `The call can be joined until ${time(room.validUntil)}.` : '';
}

// Runs the work of a form; meanwhile its button is off.
function onSubmit(form, work) {
    form.addEventListener('submit', async (event) => {
        event.preventDefault();
        const [button, problem] = [form.querySelector('button'), form.querySelector('.problem')];
        const mine = visit;
        problem.textContent = '';
        button.disabled = true;
        name = new FormData(form).get('name');
        const text = await work().catch(() => NO_ANSWER);
        button.disabled = false;
        if (mine === visit) {
            problem.textContent = text ?? '';
        }
    });
}

async function start() {
    key ??= crypto.randomUUID();
    const mine = visit;
    const answer = await ask('POST', 'calls', { key });
    if (mine !== visit) {
        // The key stays: if this call is started again, it gets the same room.
        return undefined;
    }
    if (!answer.ok) {
        // The call of this key is over: the next one is another.
        key = answer.status === 410 ? undefined : key;
        return explain(answer);
    }
    key = undefined;
    ({ linkId: id, owner } = answer.result);
    history.replaceState(null, '', `#${id}`);
    return join();
}

async function join() {
    const mine = visit;
    const answer = await ask('GET', address());
    if (mine !== visit) {
        return undefined;
    }
    if (answer.status === 404) {
        return end('This call is over', 'The link is not valid, or not any more.');
    }
    if (!answer.ok) {
        return explain(answer);
    }
    room = answer.result;
    if (isAhead(room.validFrom)) {
        showInvitation();
        return 'You are too early. Please come back then.';
    }
    show('call');
    sections.call.querySelector('.when').textContent = when();
    sections.call.querySelector('.link input').value = new URL(`#${id}`, location).href;
    sections.call.querySelector('h1').focus();
    if (room.joinIn > 0) {
        sections.call.querySelector('.when').textContent = `Your room is being prepared. You will join in ${room.joinIn} seconds.`;
        const isCancelled = await pauseUnlessCancelled(room.joinIn * 1000);
        if (mine !== visit) {
            return undefined;
        }
        if (isCancelled) {
            return cancelled();
        }
        sections.call.querySelector('.when').textContent = when();
    }
    await call.join({ node: room.node, alias: room.alias, pin: room.pin, name });
    return undefined;
}

// Gives true if the button is pressed meanwhile.
async function pauseUnlessCancelled(time) {
    cancel.hidden = false;
    let timer;
    const isCancelled = await new Promise((done) => {
        cancel.onclick = () => done(true);
        stopWaiting = () => done(false);
        timer = setTimeout(stopWaiting, time);
    });
    clearTimeout(timer);
    cancel.hidden = true;
    return isCancelled;
}

// Before the room is joined.
async function cancelled() {
    if (owner) {
        end('You have left the call', 'It is being ended for everybody…');
        await call.beforeLeaving();
    } else {
        end('You have not joined the call', 'The others may still be in it.', true);
    }
}

function end(title, why, canJoinAgain = false) {
    again.hidden = !canJoinAgain;
    sections.end.querySelector('h1').textContent = title;
    sections.end.querySelector('.why').textContent = why;
    show('end');
    sections.end.querySelector('h1').focus();
}

function showInvitation() {
    sections.invited.querySelector('.when').textContent = when();
    show('invited');
}

// Who has started the call ends it for everybody: the room is deleted. That comes first, so that the others are told that
// the call is over, and not that somebody has left.
call.beforeLeaving = async () => {
    if (!owner) {
        return false;
    }
    const left = id;
    const isEnded = await ask('POST', `${address()}/end`, { owner }).then(({ ok }) => ok, () => false);
    // Meanwhile a new call may have been started.
    if (id === left && isEnded) {
        owner = undefined;
        end('This call is over', 'Thank you. You have ended the call.');
    } else if (id === left) {
        end('You have left the call', 'It could not be ended: the others may still be in it.', true);
    }
    return isEnded;
};

call.addEventListener('callstate', ({ detail: { state, reason } }) => {
    if (state === 'left') {
        if (owner) {
            end('You have left the call', 'It is being ended for everybody…');
        } else {
            end('You have left the call', 'The others are still in it.', true);
        }
    } else if (state === 'over') {
        end('This call is over', isLate() ? TIME_IS_OVER : 'The other side has ended it.');
    } else if (state === 'refused') {
        const isGone = /not? ?found|neither/i.test(reason);
        const why = isLate() ? TIME_IS_OVER : 'The room does not exist any more.';
        end(isGone ? 'This call is over' : 'The call could not be joined', isGone ? why : reason, !isGone);
    }
});

again.addEventListener('click', async () => {
    // A second call beside the first would keep the camera on.
    again.disabled = true;
    const mine = visit;
    const problem = await join().catch(() => NO_ANSWER);
    again.disabled = false;
    if (problem && mine === visit) {
        end('The call could not be joined', problem, true);
    }
});

sections.call.querySelector('.link button').addEventListener('click', async () => {
    const field = sections.call.querySelector('.link input');
    field.select();
    const isCopied = await navigator.clipboard?.writeText(field.value).then(() => true, () => false);
    sections.call.querySelector('.copied').textContent = isCopied ? 'The link is copied.' : 'Copy the marked link.';
});

onSubmit(sections.start.querySelector('form'), start);
onSubmit(sections.invited.querySelector('form'), join);

// From the end of a call to a new one: the address changes only in what follows the #.
sections.end.querySelector('.new').addEventListener('click', (event) => {
    event.preventDefault();
    beginVisit();
    id = owner = room = undefined;
    history.replaceState(null, '', location.pathname);
    show('start');
    sections.start.querySelector('button').focus();
});

window.addEventListener('hashchange', open);

async function open() {
    const mine = beginVisit();
    await call.leave();
    if (mine !== visit) {
        return;
    }
    id = location.hash.slice(1) || undefined;
    owner = room = undefined;
    if (!id) {
        show('start');
        return;
    }
    const answer = await ask('GET', address()).catch(() => undefined);
    if (mine !== visit) {
        return;
    }
    room = answer?.ok ? answer.result : undefined;
    if (answer?.status === 404) {
        end('This call is over', 'The link is not valid, or not any more.');
    } else if (isLate()) {
        end('This call is over', TIME_IS_OVER);
    } else {
        showInvitation();
    }
}

await open();
