// Shows the API's document, with credentials and examples with which each request can be tried in the sandbox.

// The sandbox's server passes requests below this path on to the service: the service lets only the widget's page read its
// answers, and only those of one route.
const TRY = new URL('try/', location);

// Browsers do not let pages set these; the sandbox's server takes off the prefix.
const SET_BY_BROWSERS = ['origin', 'access-control-request-method', 'access-control-request-headers'];
const PREFIX = 'x-try-';

const [spec, { kiosk, ...credentials }] = await Promise.all(['openapi.json', 'credentials.json'].map(async (path) => {
    const answer = await fetch(path);
    return answer.json();
}));
const service = spec.servers[0].url;

// Values that the viewer fills in are sent, so only those that are required stay examples. Whoever tries the others finds
// theirs in the description.
function* parameters() {
    for (const operations of Object.values(spec.paths)) {
        for (const operation of Object.values(operations)) {
            yield* operation.parameters ?? [];
        }
    }
}
for (const parameter of parameters()) {
    if (!parameter.required && parameter.example !== undefined) {
        parameter.description = `${parameter.description ?? ''}\n\nExample: \`${parameter.example}\``;
        delete parameter.example;
    }
}

// The one room that is there before any is made.
spec.paths['/public/room/{name}'].get.parameters.find(({ name }) => name === 'name').example = kiosk;

// Finds operations, where the viewer's own filter only finds tags.
function opsFilter(tags, phrase) {
    const words = phrase.toLowerCase().split(/\s+/).filter(Boolean);
    const isFound = (operation) => {
        const text = JSON.stringify(operation.toJS()).toLowerCase();
        return words.every((word) => text.includes(word));
    };
    return tags.map((tag) => tag.update('operations', (operations) => operations.filter(isFound)))
        .filter((tag) => tag.get('operations').size > 0);
}

const root = document.querySelector('#reference');
const names = { INPUT: 'Value', SELECT: 'Choice', TEXTAREA: 'Body' };

// The viewer's own landmark, its `main`, begins at the operations: these parts come before it.
const landmarks = [
    ['.information-container', 'region', 'About this API'],
    ['.schemes-server-container', 'region', 'Server and credentials'],
    ['.filter-container', 'search', 'Operations'],
];

// The viewer gives no news of what it has drawn, and its fields no names.
new MutationObserver(() => {
    const search = root.querySelector('.operation-filter-input');
    if (search && root.ariaBusy) {
        search.ariaLabel = 'Search operations';
        search.placeholder = 'Search operations';
        root.ariaBusy = null;
    }
    for (const [selector, role, name] of landmarks) {
        const part = root.querySelector(`${selector}:not([role])`);
        if (part) {
            part.role = role;
            part.ariaLabel = name;
        }
    }
    for (const field of root.querySelectorAll(':is(input, select, textarea):not([aria-label])')) {
        field.ariaLabel = field.closest('[data-param-name]')?.dataset.paramName ?? names[field.tagName];
    }
    for (const command of root.querySelectorAll('.curl:not([tabindex])')) {
        // It scrolls, so the keyboard must reach it.
        command.tabIndex = 0;
    }
}).observe(root, { childList: true, subtree: true });

const ui = window.SwaggerUIBundle({
    spec,
    domNode: root,
    defaultModelsExpandDepth: 0,
    docExpansion: 'list',
    filter: true,
    plugins: [{ fn: { opsFilter } }],
    requestSnippetsEnabled: true,
    // The command to copy names the service itself.
    showMutatedRequest: false,
    syntaxHighlight: { theme: 'tomorrow-night' },
    tryItOutEnabled: true,
    validatorUrl: null,
    requestInterceptor(request) {
        const headers = Object.entries(request.headers).map(([name, value]) => {
            return SET_BY_BROWSERS.includes(name.toLowerCase()) ? [PREFIX + name, value] : [name, value];
        });
        const url = request.url.replace(`${service}/`, TRY.href);
        return { ...request, url, headers: Object.fromEntries(headers) };
    },
    responseInterceptor(response) {
        if (response.ok && new URL(response.url).pathname.endsWith('/room/create')) {
            showRoom(response.obj.name);
        }
        return response;
    },
    onComplete() {
        ui.preauthorizeApiKey('entra', credentials.entra);
        ui.preauthorizeApiKey('genesys', credentials.genesys);
        ui.preauthorizeBasic('eventSink', ...credentials.eventSink);
        ui.preauthorizeBasic('policy', ...credentials.policy);
    },
});

// From now on the examples are about the room that was made.
function showRoom(name) {
    for (const parameter of parameters()) {
        if (['name', 'local_alias'].includes(parameter.name) && parameter.example !== undefined) {
            parameter.example = name;
        }
    }
    ui.specActions.updateJsonSpec(structuredClone(spec));
}

// The viewer has dark colours, and no regard for what the reader prefers.
const prefersDark = window.matchMedia('(prefers-color-scheme: dark)');
const showColours = () => document.documentElement.classList.toggle('dark-mode', prefersDark.matches);
prefersDark.addEventListener('change', showColours);
showColours();
