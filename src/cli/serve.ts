import { parseArgs } from 'node:util'
import { SocksClient } from '../client/index.js'
import { isSocksError } from '../codec/index.js'
import { createSocksServer, egress, type SocksServer, userPass } from '../server/index.js'
import {
  errorCode,
  oneOf,
  parseListen,
  parseSeconds,
  parseUser,
  proxyUrls,
  readUsers,
  UsageError,
} from './command-line.js'
import type { CommandIo } from './io.js'
import { LOG_FORMATS, logServer } from './log.js'

export const SERVE_USAGE = `tubesock serve [options]

  --listen HOST:PORT           where to listen [127.0.0.1:1080]; also [IPv6]:PORT, or PORT alone;
                               port 0 takes a free one
  --user NAME:PASSWORD         admit this user; may be repeated
  --users FILE                 admit the users of a file, a NAME:PASSWORD a line; lines that begin
                               with # are comments
  --egress any|no-local|public what may be reached [loopback clients: any, others: no-local]
  --upstream URL               go out through this proxy; repeated: a chain
                               [TUBESOCK_PROXY, a list separated by blanks or commas]
  --handshake-timeout SECONDS  from accept to complete request [10]
  --allow-anonymous            serve anybody on an address that others can reach
  --log text|json|none         on stderr; text: denials and errors only [text]
`

/** How long tunnels may go on after the first SIGTERM or SIGINT, in milliseconds. */
const GRACE_MS = 10_000

const EGRESS = { any: egress.any, 'no-local': egress.noLocal, public: egress.publicOnly } as const

/**
 * `tubesock serve`: serves until SIGTERM or SIGINT, then lets tunnels finish; a second signal ends them at once.
 * Resolves to the exit code. @throws UsageError
 */
export async function serve(argv: readonly string[], { stdout, stderr, env }: CommandIo = process): Promise<number> {
  const { server, where, format, upstream } = configure(argv, env)
  logServer(server, format, stderr)
  const stopped = stopOnSignals(server)
  try {
    const { host, port } = await server.listen(where)
    if (upstream.length > 0 && format !== 'none') stderr.write(`going out through ${upstream.join(', then ')}\n`)
    stdout.write(`listening on socks5://${host.includes(':') ? `[${host}]` : host}:${port}\n`)
  } catch (error) {
    stderr.write(`tubesock: ${listenProblem(error, where)}\n`)
    return isSocksError(error) ? 2 : 1
  }
  await stopped
  return 0
}

function configure(argv: readonly string[], env: CommandIo['env']) {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      listen: { type: 'string', default: '127.0.0.1:1080' },
      user: { type: 'string', multiple: true, default: [] },
      users: { type: 'string' },
      egress: { type: 'string' },
      upstream: { type: 'string', multiple: true, default: [] },
      'handshake-timeout': { type: 'string', default: '10' },
      'allow-anonymous': { type: 'boolean', default: false },
      log: { type: 'string', default: 'text' },
    },
  })
  const users = [
    ...(values.users === undefined ? [] : readUsers(values.users)),
    ...values.user.map((user) => parseUser(user, '--user')),
  ]
  // A file without users must not open the door to everybody.
  const wantsUsers = values.users !== undefined || users.length > 0
  if (wantsUsers && users.length === 0) throw new UsageError('--users: the file names no user')
  const policy =
    values.egress === undefined ? undefined : oneOf(values.egress, ['any', 'no-local', 'public'], '--egress')
  const upstream = upstreamClient(proxyUrls(values.upstream, env))
  if (upstream !== undefined && policy !== undefined) {
    throw new UsageError(
      '--egress judges what is dialed from here; with --upstream (or TUBESOCK_PROXY) the proxy dials',
    )
  }
  const server = createSocksServer({
    dial: upstream?.dialer(),
    auth: wantsUsers ? userPass(Object.fromEntries(users)) : undefined,
    egress: policy === undefined ? undefined : EGRESS[policy](),
    handshakeTimeoutMs: parseSeconds(values['handshake-timeout'], '--handshake-timeout'),
    allowAnonymous: values['allow-anonymous'],
  })
  const format = oneOf(values.log, LOG_FORMATS, '--log')
  return { server, where: parseListen(values.listen), format, upstream: upstream?.proxies ?? [] }
}

function upstreamClient(proxy: readonly string[]): SocksClient | undefined {
  if (proxy.length === 0) return undefined
  try {
    // The server's own dial timeout is the one that counts.
    return new SocksClient({ proxy, timeoutMs: 0 })
  } catch (error) {
    throw new UsageError(`--upstream: ${error instanceof Error ? error.message : 'invalid proxy'}`)
  }
}

/** Resolves when a signal has stopped the server. */
function stopOnSignals(server: SocksServer): Promise<void> {
  return new Promise((resolve) => {
    let signals = 0
    const onSignal = (): void => {
      signals++
      // close() is one operation: the second signal ends the process, and with it what close() still waits for.
      if (signals === 1) void server.close({ graceMs: GRACE_MS }).then(resolve)
      else resolve()
    }
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
  })
}

function listenProblem(error: unknown, { host, port }: { host: string; port: number }): string {
  if (isSocksError(error) && error.code === 'ERR_SOCKS_OPEN_PROXY') {
    return `--listen ${host}: anybody who can reach it could use it. Give --user or --users, or say --allow-anonymous`
  }
  return `cannot listen on ${host}:${port} (${errorCode(error)})`
}
