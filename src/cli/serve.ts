import cluster from 'node:cluster'
import { parseArgs } from 'node:util'
import { SocksClient } from '../client/index.js'
import { isSocksError } from '../codec/index.js'
import { createSocksServer, egress, type SocksServer, userPass } from '../server/index.js'
import {
  errorCode,
  listOf,
  oneOf,
  parseCount,
  parseListen,
  parseSeconds,
  parseUser,
  proxyUrls,
  readUsers,
  UsageError,
} from './command-line.js'
import type { CommandIo } from './io.js'
import { LOG_FORMATS, logServer } from './log.js'
import { stopOnSignals } from './signals.js'
import { runWorkers, stopOnOrders, tellStarter } from './workers.js'

export const SERVE_USAGE = `tubesock serve [options]

  --listen HOST:PORT           where to listen [127.0.0.1:1080]; also [IPv6]:PORT, or PORT alone;
                               port 0 takes a free one
  --user NAME:PASSWORD         admit this user; may be repeated
  --users FILE                 admit the users of a file, a NAME:PASSWORD a line; lines that begin
                               with # are comments
  --commands LIST              what may be asked for: connect,bind,udp-associate,resolve,
                               resolve-ptr [connect]
  --socks4                     serve SOCKS4 and SOCKS4a, too; it has no passwords: while users
                               are asked for, each of its requests is refused
  --egress any|no-local|public what may be reached [loopback clients: any, others: no-local]
  --upstream URL               go out through this proxy; repeated: a chain
                               [TUBESOCK_PROXY, a list separated by blanks or commas]
  --workers N                  serve with N processes that share the port; limits count in each
                               [0: this process alone]
  --handshake-timeout SECONDS  from accept to complete request [10]
  --allow-anonymous            serve anybody on an address that others can reach
  --log text|json|none         on stderr; text: denials and errors only [text]
`

/** How long tunnels may go on after the first SIGTERM or SIGINT, in milliseconds. */
const GRACE_MS = 10_000

const COMMANDS = ['connect', 'bind', 'udp-associate', 'resolve', 'resolve-ptr'] as const

const EGRESS = { any: egress.any, 'no-local': egress.noLocal, public: egress.publicOnly } as const

/**
 * `tubesock serve`: serves until SIGTERM or SIGINT, then lets tunnels finish; a second signal ends them at once.
 * Resolves to the exit code. @throws UsageError
 */
export async function serve(argv: readonly string[], { stdout, stderr, env }: CommandIo = process): Promise<number> {
  const { server, where, format, upstream, workers } = configure(argv, env)
  const note = upstream.length > 0 && format !== 'none' ? `going out through ${upstream.join(', then ')}\n` : ''
  if (workers > 0 && cluster.isPrimary) {
    stderr.write(note)
    return await runWorkers(workers, argv, { stdout, stderr }, announcement)
  }
  const isWorker = workers > 0
  logServer(server, format, stderr, isWorker ? cluster.worker?.id : undefined)
  const stopped = stopOnDemand(server, isWorker)
  try {
    const { host, port } = await server.listen(where)
    if (isWorker) await tellStarter({ type: 'listening', host, port })
    else {
      stderr.write(note)
      stdout.write(announcement(host, port))
    }
  } catch (error) {
    const problem = listenProblem(error, where)
    const exitCode = isSocksError(error) ? 2 : 1
    if (isWorker) await tellStarter({ type: 'failed', problem, exitCode })
    else stderr.write(`tubesock: ${problem}\n`)
    return exitCode
  }
  await stopped
  return 0
}

function announcement(host: string, port: number): string {
  return `listening on socks5://${host.includes(':') ? `[${host}]` : host}:${port}\n`
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
      commands: { type: 'string', default: 'connect' },
      socks4: { type: 'boolean', default: false },
      workers: { type: 'string', default: '0' },
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
  const commands = listOf(values.commands, COMMANDS, '--commands')
  const beside = commands.find((command) => command !== 'connect')
  if (upstream !== undefined && beside !== undefined) {
    throw new UsageError(`--commands ${beside} would go out beside the --upstream (or TUBESOCK_PROXY)`)
  }
  const server = createSocksServer({
    dial: upstream?.dialer(),
    commands,
    socks4: values.socks4,
    auth: wantsUsers ? userPass(Object.fromEntries(users)) : undefined,
    egress: policy === undefined ? undefined : EGRESS[policy](),
    handshakeTimeoutMs: parseSeconds(values['handshake-timeout'], '--handshake-timeout'),
    allowAnonymous: values['allow-anonymous'],
  })
  const format = oneOf(values.log, LOG_FORMATS, '--log')
  const workers = parseCount(values.workers, '--workers')
  return { server, where: parseListen(values.listen), format, workers, upstream: upstream?.proxies ?? [] }
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

/** Resolves when the server was stopped: by signals, or by the process that started this one as a worker. */
function stopOnDemand(server: SocksServer, isWorker: boolean): Promise<void> {
  const close = (): Promise<void> => server.close({ graceMs: GRACE_MS })
  return isWorker ? stopOnOrders(close) : stopOnSignals(close)
}

function listenProblem(error: unknown, { host, port }: { host: string; port: number }): string {
  if (isSocksError(error) && error.code === 'ERR_SOCKS_OPEN_PROXY') {
    return `--listen ${host}: anybody who can reach it could use it. Give --user or --users, or say --allow-anonymous`
  }
  return `cannot listen on ${host}:${port} (${errorCode(error)})`
}
