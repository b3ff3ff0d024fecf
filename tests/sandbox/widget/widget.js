// The agent's widget. Genesys Cloud opens it with the room's name of the interaction as ?room=…; it reads the room from the
// room service, opens the citizen's case and joins as host.
import './call/call.js';
import { genesysToken } from './genesys.js';

const main = document.querySelector('main');
const form = main.querySelector('form');
const problem = main.querySelector('.problem');
const caseLine = main.querySelector('.case');
const call = main.querySelector('video-call');
const voice = main.querySelector('.voice');
const end = main.querySelector('.end');

// Addresses of the room service and of a Conferencing Node.
const { api, node, caseViewer } = await (await fetch('settings.json')).json();

let room;

const problems = {
    401: 'Genesys does not accept your login any more. Please log in again.',
    403: 'Your account may not read rooms.',
    404: 'There is no such room, or its call is over.',
    429: 'Too many requests. Please try again in a moment.',
};

async function accept() {
    problem.textContent = '';
    // If the read fails, nothing of the room before stays on the page.
    room = undefined;
    caseLine.hidden = true;
    end.hidden = true;
    const name = new FormData(form).get('room').trim();
    const token = await genesysToken();
    const answer = await fetch(new URL(`public/room/${encodeURIComponent(name)}`, api), {
        headers: { 'x-auth-token': token },
    });
    if (!answer.ok) {
        const wait = answer.headers.get('retry-after');
        const later = `The room service is not available. Please try again ${wait ? `in ${wait} seconds` : 'later'}.`;
        problem.textContent = problems[answer.status] ?? later;
        main.dataset.state = 'problem';
        return;
    }
    room = await answer.json();
    showCase(room.tag);
    await join();
}

// The case opens in a tab of its own; if the browser blocks that, the link is there.
function showCase(tag) {
    caseLine.hidden = !tag;
    if (tag) {
        const link = caseLine.querySelector('a');
        link.textContent = tag;
        link.href = `${caseViewer}#${encodeURIComponent(tag)}`;
        window.open(link.href, 'case', 'noreferrer');
    }
}

async function join() {
    form.hidden = true;
    end.hidden = true;
    voice.hidden = false;
    await call.join({ node, alias: room.aliases[0].alias, pin: room.pin, name: 'Agent' });
}

call.addEventListener('callstate', ({ detail: { state, reason } }) => {
    main.dataset.state = state;
    const titles = { left: 'You have left the call', over: 'This call is over', refused: 'The call could not be joined' };
    const title = titles[state];
    if (title) {
        const isGone = state === 'refused' && /neither/i.test(reason);
        end.querySelector('h2').textContent = isGone ? titles.over : title;
        end.querySelector('.why').textContent = state === 'left' ? 'The citizen may still be in it.' : reason;
        end.querySelector('.again').hidden = state === 'over' || isGone;
        voice.hidden = true;
        form.hidden = false;
        end.hidden = false;
        end.querySelector('h2').focus();
    }
});

async function attempt(work) {
    const buttons = [form.querySelector('button'), end.querySelector('button')];
    buttons.forEach((button) => { button.disabled = true; });
    try {
        await work();
    } catch {
        problem.textContent = 'The room service cannot be reached.';
        main.dataset.state = 'problem';
    } finally {
        buttons.forEach((button) => { button.disabled = false; });
    }
}

form.addEventListener('submit', (event) => {
    event.preventDefault();
    attempt(accept);
});
end.querySelector('.again').addEventListener('click', () => attempt(join));

form.elements.room.value = new URLSearchParams(location.search).get('room') ?? '';
main.dataset.state = 'ready';
