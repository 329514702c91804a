import type { Socket } from 'node:net'
import { parseArgs } from 'node:util'
import type { Hop } from '../client/chain.js'
import { SocksClient } from '../client/client.js'
import { isSocksError } from '../codec/errors.js'
import { errorCode, parseSeconds, proxyUrls, UsageError } from './command-line.js'
import type { CommandIo } from './io.js'

export const CONNECT_USAGE = `tubesock connect [--proxy URL]... [options] HOST PORT

  Joins standard input and output to HOST:PORT: ssh -o ProxyCommand='tubesock connect --proxy URL %h %p'

  --proxy URL                  socks5h://[USER:PASSWORD@]HOST[:PORT]; repeated: a chain
                               [TUBESOCK_PROXY, a list separated by spaces or commas]
  --timeout SECONDS            until HOST has answered; 0 is no limit [30]
  -v, --verbose                show each hop and its BND on stderr
`

interface CommandLine {
  readonly client: SocksClient
  readonly host: string
  readonly port: number
}

/**
 * `tubesock connect`: joins stdin and stdout to a target. Resolves to the exit code: 0 when the target has ended and all
 * of it is written, 1 with one line on stderr when it failed, 2 for a wrong command line.
 */
export async function connect(argv: readonly string[], io: CommandIo = process): Promise<number> {
  try {
    const { client, host, port } = parseCommandLine(argv, io)
    const { socket } = await client.connect({ host, port })
    await join(socket, `${host}:${port}`, io)
    return 0
  } catch (error) {
    const isUsage = error instanceof UsageError
    if (!isUsage && !(error instanceof Error)) throw error
    io.stderr.write(`tubesock connect: ${error.message.split('\n', 1)[0]}\n`)
    return isUsage || isUsersFault(error) ? 2 : 1
  }
}

/** What the library refuses before any I/O is a wrong command line here. */
function isUsersFault(error: Error): boolean {
  if (!isSocksError(error) || error.hop !== undefined) return false
  const { code } = error
  return code === 'ERR_SOCKS_INVALID_PROXY' || code === 'ERR_SOCKS_INVALID_HOST' || code === 'ERR_SOCKS_INVALID_PORT'
}

function parseCommandLine(argv: readonly string[], io: CommandIo): CommandLine {
  const { values, positionals } = parseOptions(argv)
  const [host, port, ...rest] = positionals
  if (host === undefined || port === undefined || rest.length > 0) throw new UsageError('expected HOST PORT')
  if (!/^[0-9]{1,5}$/.test(port) || Number(port) > 65_535) throw new UsageError('PORT must be a number from 1 to 65535')
  const proxy = proxyUrls(values.proxy, io.env)
  if (proxy.length === 0) throw new UsageError('give --proxy URL, or set TUBESOCK_PROXY')
  const client = new SocksClient({
    proxy,
    timeoutMs: parseSeconds(values.timeout, '--timeout'),
    onHop: values.verbose ? (hop) => io.stderr.write(formatHop(hop)) : undefined,
  })
  return { client, host, port: Number(port) }
}

function parseOptions(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        proxy: { type: 'string', multiple: true, default: [] },
        timeout: { type: 'string', default: '30' },
        verbose: { type: 'boolean', short: 'v', default: false },
      },
    })
  } catch (error) {
    if (!errorCode(error).startsWith('ERR_PARSE_ARGS_')) throw error
    // Its first sentence names the option; it never quotes a value.
    throw new UsageError(error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : '')
  }
}

function formatHop({ hop, proxy, target, bound }: Hop): string {
  // A name in BND may hold anything, terminal control sequences included.
  const host = bound.type === 'domain' ? JSON.stringify(bound.host).replace(/[^ -~]/g, '?') : bound.host
  return `hop ${hop + 1}: ${proxy} -> ${target}, BND ${bound.type === 'ipv6' ? `[${host}]` : host}:${bound.port}\n`
}

/**
 * Joins the standard streams and a socket. stdin's end becomes a FIN while the answer is still read. Resolves when the
 * remote side has ended and stdout has taken all of it, or nobody reads stdout any more; rejects when the socket fails.
 */
function join(socket: Socket, target: string, { stdin, stdout }: CommandIo): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error): void => {
      stdin.off('error', onStdinError)
      socket.off('error', settle)
      socket.off('end', onEnd)
      socket.off('close', onClose)
      stdin.unpipe(socket)
      stdin.pause()
      socket.unpipe(stdout)
      socket.destroy()
      if (error === undefined) resolve()
      else reject(new Error(`the connection to ${target} failed (${errorCode(error)})`, { cause: error }))
    }
    // Nobody reads stdout any more: `| head` is no failure. Stays on, for what is still under way.
    stdout.on('error', () => settle())
    const onStdinError = (): void => {
      socket.end()
    }
    // The remote side has said all it had to say: that it takes no more of ours (EPIPE) is no failure.
    const onEnd = (): void => {
      stdin.unpipe(socket)
      socket.off('error', settle)
      socket.off('close', onClose)
      // An empty write is called back when everything before it is out.
      stdout.write('', () => settle())
    }
    const onClose = (): void => {
      if (!socket.readableEnded) settle(new Error('closed'))
    }
    stdin.on('error', onStdinError)
    socket.on('error', settle)
    socket.on('end', onEnd)
    socket.on('close', onClose)
    stdin.pipe(socket)
    socket.pipe(stdout, { end: false })
    // It may have been reset before anybody listened.
    if (socket.destroyed) settle(socket.errored ?? new Error('closed'))
  })
}
