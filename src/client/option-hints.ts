// What is meant by an option that has another name here, or belongs somewhere else.

/** What to say of an option where it is unknown, by its name. */
export interface Hints {
  readonly [option: string]: string | undefined
}

/** Options of `SocksClient`, of its methods, and what others call them. */
export const CLIENT_HINTS: Hints = {
  timeout: "it is 'timeoutMs'",
  ...each(['host', 'port', 'signal', 'socket', 'firstData'], 'it belongs to connect()'),
  existing_socket: "it is 'socket' of connect()",
  ...each(['relayAddress', 'reassemble', 'maxQueued'], 'it belongs to udpAssociate()'),
  ...each(
    ['proxy', 'requireAuth', 'isolate', 'optimistic', 'lookup', 'localAddress', 'onHop'],
    'it belongs to the constructor',
  ),
  ...each(['username', 'password', 'tls', 'auth', 'version', 'resolve', 'path'], 'it belongs to the proxy'),
  type: "it is 'version' of the proxy",
  userId: "it is 'username' of the proxy",
  ipaddress: "it is 'host' of the proxy",
  proxies: "'proxy' takes a list",
  destination: "say 'host' and 'port'",
  command: 'createConnection() takes it',
}

/** Options of a proxy. */
export const PROXY_HINTS: Hints = {
  type: "it is 'version'",
  userId: "it is 'username'",
  ...each(['ipaddress', 'hostname'], "it is 'host'"),
  timeout: "it is 'timeoutMs', beside the proxy",
}

/** Options of `tls.connect`, and of Node's agents, among those of a tunnel. */
const TLS_HINTS: Hints = each(
  [
    ...['ca', 'cert', 'key', 'pfx', 'passphrase', 'crl', 'secureContext', 'session', 'servername'],
    ...['rejectUnauthorized', 'checkServerIdentity', 'ALPNProtocols', 'requestOCSP', 'pskCallback'],
    ...['ciphers', 'minVersion', 'maxVersion', 'secureProtocol', 'secureOptions', 'sigalgs', 'ecdhCurve', 'minDHSize'],
  ],
  'it belongs in the second argument',
)

/** What stands for the options of one request. */
const REQUEST_HINTS: Hints = {
  proxy: 'the proxy is the first argument',
  ...each(['host', 'port'], 'each request says where to go'),
  signal: 'each request has its own',
  ...each(['socket', 'existing_socket', 'firstData'], 'each request opens its own tunnel'),
}

/** The third argument of an agent. */
export const AGENT_TUNNEL_HINTS: Hints = {
  ...CLIENT_HINTS,
  ...REQUEST_HINTS,
  ...TLS_HINTS,
  ...each(
    [
      'keepAlive',
      'keepAliveMsecs',
      'maxSockets',
      'maxTotalSockets',
      'maxFreeSockets',
      'scheduling',
      'maxCachedSessions',
    ],
    'it belongs in the second argument',
  ),
}

/** Options of undici's dispatchers and of its own connector. */
export const CONNECTOR_HINTS: Hints = {
  timeout: "it is 'timeoutMs' in the third argument",
  allowH2: "say ALPNProtocols: ['h2', 'http/1.1'], and allowH2 to the dispatcher",
  maxCachedSessions: 'sessions are not kept',
  keepAlive: "undici's Agent keeps connections: see its keepAliveTimeout",
  ...each(['maxSockets', 'maxTotalSockets'], "it is 'connections' of undici's Agent"),
  ...each(
    [
      ...['connections', 'pipelining', 'keepAliveTimeout', 'keepAliveMaxTimeout', 'keepAliveTimeoutThreshold'],
      ...['bodyTimeout', 'headersTimeout', 'connectTimeout', 'maxHeaderSize', 'maxResponseSize', 'maxRedirections'],
      ...['maxConcurrentStreams', 'maxRequestsPerClient', 'strictContentLength', 'interceptors', 'factory'],
    ],
    "it belongs to undici's Agent",
  ),
}

/** The third argument of a connector. */
export const CONNECTOR_TUNNEL_HINTS: Hints = {
  ...CLIENT_HINTS,
  ...CONNECTOR_HINTS,
  ...REQUEST_HINTS,
  ...TLS_HINTS,
  timeout: "it is 'timeoutMs'",
}

/** The second argument of an agent or a connector, which is handed to Node. */
export const NODE_HINTS: Hints = {
  ...each(
    ['timeoutMs', 'requireAuth', 'isolate', 'optimistic', 'onHop', 'lookup', 'localAddress'],
    'it belongs in the third argument',
  ),
  ...each(['proxy', 'proxyEnv'], 'the proxy is the first argument'),
  ...each(['host', 'port'], 'each request says where to go'),
  defaultPort: 'it is 80 or 443, or an option of the request',
  protocol: 'each request has its own',
  ...each(['path', 'socketPath'], 'a Unix socket cannot be reached through a proxy'),
  socket: 'the socket is the tunnel',
  socketOptions: "say 'localAddress' and 'lookup' in the third argument",
}

/** What follows the range of a port in a message: `'8080'` is in the range. */
export function unlessText(port: unknown): string {
  return typeof port === 'string' ? ', not a string' : ''
}

function each(options: readonly string[], hint: string): Hints {
  return Object.fromEntries(options.map((option) => [option, hint]))
}
