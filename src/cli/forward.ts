import { lookup } from 'node:dns/promises'
import { parseArgs } from 'node:util'
import { parseTarget } from '../client/idn.js'
import { SocksClient } from '../client/index.js'
import { type Destination, formatDestination } from '../codec/index.js'
import { createForwardServer } from '../server/index.js'
import { createUdpForward } from '../udp/index.js'
import { errorCode, parseHostPort, parseListen, proxyUrls, UsageError } from './command-line.js'
import type { CommandIo } from './io.js'
import { ReverseForward } from './reverse.js'
import { stopOnSignals } from './signals.js'

export const FORWARD_USAGE = `tubesock forward [options] HOST:PORT
                               everything that connects to --listen is taken to HOST:PORT through
                               the proxy

  --proxy URL                  the way out; repeated: a chain, for TCP alone
                               [TUBESOCK_PROXY, a list separated by blanks or commas]
  --listen HOST:PORT           where to listen [127.0.0.1:7777]; also [IPv6]:PORT, or PORT alone;
                               port 0 takes a free one
  --udp                        datagrams, by UDP ASSOCIATE
  --reverse                    the other way round: the proxy listens, by BIND, at the port of --listen
                               if it grants it, and what connects there is taken to HOST:PORT from
                               here. One connection at a time can be waited for
`

/** How long connections may go on after the first SIGTERM or SIGINT, in milliseconds. */
const GRACE_MS = 10_000

/** Something that listens, whatever it forwards. */
interface Forward {
  listen(where: { host: string; port: number }): Promise<{ readonly host: string; readonly port: number }>
  close(): Promise<void>
}

/**
 * `tubesock forward`: `ssh -L` through a SOCKS proxy, for TCP or UDP, until SIGTERM or SIGINT. Resolves to the exit code.
 * @throws UsageError
 */
export async function forward(argv: readonly string[], { stdout, stderr, env }: CommandIo = process): Promise<number> {
  const { client, where, target, isUdp, isReverse } = configure(argv, env)
  const fail = (error: unknown): void => {
    stderr.write(`tubesock: ${error instanceof Error ? error.message : errorCode(error)}\n`)
  }
  if (isReverse) return await reverse(client, where.port, target, { stdout, fail })
  const way = isUdp ? udpForward(client, target, fail) : tcpForward(client, target, fail)
  const stopped = stopOnSignals(() => way.close())
  try {
    const { host, port } = await way.listen(where)
    stdout.write(`forwarding ${written(host, port)} -> ${formatDestination(target)}\n`)
  } catch (error) {
    stderr.write(`tubesock: cannot listen on ${written(where.host, where.port)} (${errorCode(error)})\n`)
    return 1
  }
  await stopped
  return 0
}

/** As `--listen` takes it. */
function written(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

async function reverse(
  client: SocksClient,
  port: number,
  target: Destination,
  { stdout, fail }: { readonly stdout: CommandIo['stdout']; readonly fail: (error: unknown) => void },
): Promise<number> {
  const way = new ReverseForward(client, port, target, {
    onListening: (address) => stdout.write(`forwarding ${address} -> ${formatDestination(target)}\n`),
    onError: fail,
  })
  const stopped = stopOnSignals(() => way.close(GRACE_MS))
  try {
    await way.start()
  } catch (error) {
    fail(error)
    return 1
  }
  await stopped
  return 0
}

function configure(argv: readonly string[], env: CommandIo['env']) {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      proxy: { type: 'string', multiple: true, default: [] },
      listen: { type: 'string', default: '127.0.0.1:7777' },
      udp: { type: 'boolean', default: false },
      reverse: { type: 'boolean', default: false },
    },
  })
  const [text, ...more] = positionals
  if (text === undefined || more.length > 0) throw new UsageError('forward takes one HOST:PORT')
  const target = targetOf(text)
  const proxy = proxyUrls(values.proxy, env)
  if (proxy.length === 0) throw new UsageError('forward needs --proxy (or TUBESOCK_PROXY)')
  if (values.udp && values.reverse) throw new UsageError('--reverse is for TCP: BIND knows no datagrams')
  if (values.udp && proxy.length > 1)
    throw new UsageError('--udp goes through one proxy: datagrams cannot pass a chain')
  const { udp: isUdp, reverse: isReverse } = values
  return { client: clientOf(proxy), where: parseListen(values.listen), target, isUdp, isReverse }
}

function targetOf(text: string): Destination {
  const { host, port } = parseHostPort(text, 'the target')
  try {
    return parseTarget(host, port)
  } catch (error) {
    throw new UsageError(`the target: ${error instanceof Error ? error.message : 'invalid host'}`)
  }
}

function clientOf(proxy: readonly string[]): SocksClient {
  try {
    return new SocksClient({ proxy })
  } catch (error) {
    throw new UsageError(`--proxy: ${error instanceof Error ? error.message : 'invalid proxy'}`)
  }
}

function tcpForward(client: SocksClient, target: Destination, fail: (error: unknown) => void): Forward {
  const server = createForwardServer({ target, dial: client.dialer() })
  server.on('closed', ({ reason, error }) => {
    if (reason === 'refused' && error !== undefined) fail(error)
  })
  return {
    listen: (where) => server.listen(where),
    close: () => server.close({ graceMs: GRACE_MS }),
  }
}

function udpForward(client: SocksClient, target: Destination, fail: (error: unknown) => void): Forward {
  const way = createUdpForward({ target, open: () => client.udpAssociate() })
  way.on('error', fail)
  return {
    // It takes addresses alone.
    listen: async ({ host, port }) => way.listen({ host: (await lookup(host)).address, port }),
    close: () => way.close(),
  }
}
