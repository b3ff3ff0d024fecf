// The agent's login at Genesys Cloud. The sandbox's server gives a token of its simulated agent; a real widget has it from
// Genesys' own login (OAuth, authorization code with PKCE), for example by the package purecloud-platform-client-v2.
export async function genesysToken() {
    const answer = await fetch('genesys-token', { method: 'POST' });
    return (await answer.json()).token;
}
