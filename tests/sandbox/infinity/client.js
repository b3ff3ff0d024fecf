// What the pages use of the vendor's package.
import { setLogger as setClientLogger } from '@pexip/infinity';
import { setLogger as setConnectionLogger } from '@pexip/peer-connection';
import { setLogger as setSignalLogger } from '@pexip/signal';

export {
    ClientCallType, createCallSignals, createInfinityClient, createInfinityClientSignals,
} from '@pexip/infinity';

// The packages' own logger writes every request and answer to the console, tokens and room names in them.
const nothing = () => {};
const logger = {
    fatal: (_, message) => console.error(message),
    error: (_, message) => console.error(message),
    warn: nothing,
    info: nothing,
    debug: nothing,
    trace: nothing,
    silent: nothing,
    redact: (text) => text,
    addRedactPattern: nothing,
};
for (const setLogger of [setClientLogger, setConnectionLogger, setSignalLogger]) {
    setLogger(logger);
}
