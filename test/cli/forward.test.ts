import { once } from 'node:events'
import { connect as dial, type Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { createSocksServer, type ServerOptions, userPass } from '../../src/server/index.js'
import { readToFin, startAnswerAfterFin } from '../interop/fin.js'
import { PAGE, startSite } from '../interop/site.js'
import { CLI, isListening, Program, plainEnvironment, type Result, tubesock } from '../support/cli.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { cleanup, type Fixture, startServer } from '../support/servers.js'
import { refusedPort, startEcho, startTarget } from '../support/targets.js'
import { Peer, pattern } from '../udp/support.js'

const SECRET = 'alice:hunter2'

interface Forwarding {
  readonly program: Program
  readonly host: string
  readonly port: number
  /** All of the first line. */
  readonly line: string
}

/** Starts `tubesock forward` on a free loopback port; resolves when it says that it is ready. */
async function startForward(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Forwarding> {
  const listen = args.includes('--listen') ? [] : ['--listen', '127.0.0.1:0']
  const program = new Program(process.execPath, [CLI, 'forward', ...listen, ...args], {
    env: { ...plainEnvironment(), ...env },
  })
  const [line, bracketed, plain, port] = await program.output(/^forwarding (?:\[([^\]]+)\]|([^:]+)):(\d+) -> .*\n/)
  return { program, host: bracketed ?? plain ?? '', port: Number(port), line }
}

function urlOf({ port }: Pick<Fixture, 'port'>, user?: string): string {
  return `socks5h://${user === undefined ? '' : `${user}@`}127.0.0.1:${port}`
}

async function open({ port, host }: Forwarding): Promise<Socket> {
  const socket = dial({ port, host, allowHalfOpen: true, noDelay: true })
  cleanup(() => socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** What a fixture was asked for. */
function requestsOf({ server }: Fixture): string[] {
  const requests: string[] = []
  server.on('request', ({ destination: { host, port } }) => requests.push(`${host}:${port}`))
  return requests
}

async function stop(program: Program, signal: NodeJS.Signals = 'SIGTERM'): Promise<Result> {
  program.kill(signal)
  return program.finished
}

describe('tubesock forward', () => {
  it('takes what connects to the target, through the proxy, and leaves the name to it', async () => {
    const { port } = await startSite()
    const proxy = await startServer({ auth: userPass({ alice: 'hunter2' }) })
    const requests = requestsOf(proxy)
    const forwarding = await startForward(['--proxy', urlOf(proxy, SECRET), `LocalHost:${port}`])
    expect(forwarding.line).toBe(`forwarding 127.0.0.1:${forwarding.port} -> localhost:${port}\n`)
    for (let round = 0; round < 3; round++) {
      const socket = await open(forwarding)
      socket.end('GET / HTTP/1.0\r\n\r\n')
      expect((await readToFin(socket)).toString()).toMatch(new RegExp(`^HTTP/1\\.1 200 OK\r\n.*\r\n\r\n${PAGE}$`, 's'))
    }
    expect(requests).toEqual(Array(3).fill(`localhost:${port}`))
    expect(await stop(forwarding.program)).toMatchObject({ code: 0, signal: null, stderr: '' })
  })

  it('through a chain, in the order in which it is given', async () => {
    const { port } = await startSite()
    const [first, second] = [await startServer(), await startServer({ auth: userPass({ alice: 'hunter2' }) })]
    const [asFirst, asSecond] = [requestsOf(first), requestsOf(second)]
    const options = ['--proxy', urlOf(first), '--proxy', urlOf(second, SECRET)]
    const socket = await open(await startForward([...options, `127.0.0.1:${port}`]))
    socket.end('GET / HTTP/1.0\r\n\r\n')
    expect((await readToFin(socket)).toString()).toContain(PAGE)
    expect([asFirst, asSecond]).toEqual([[`127.0.0.1:${second.port}`], [`127.0.0.1:${port}`]])
  })

  it('TUBESOCK_PROXY stands in for --proxy, which comes before it', async () => {
    const { port } = await startSite()
    const [used, unused] = [await startServer(), await startServer()]
    const [asked, notAsked] = [requestsOf(used), requestsOf(unused)]
    for (const [args, list] of [
      [[], urlOf(used)],
      [['--proxy', urlOf(used)], urlOf(unused)],
    ] as const) {
      const socket = await open(await startForward([...args, `127.0.0.1:${port}`], { TUBESOCK_PROXY: list }))
      socket.end('GET / HTTP/1.0\r\n\r\n')
      expect((await readToFin(socket)).toString()).toContain(PAGE)
    }
    expect([asked.length, notAsked.length]).toEqual([2, 0])
  })

  it('a FIN passes, and the answer after it arrives: 4 MB each way', async () => {
    const [question, answer] = [pattern(4_000_000), pattern(4_000_001)]
    const received: Buffer[] = []
    const target = await startAnswerAfterFin((data) => {
      received.push(data)
      return answer
    })
    const forwarding = await startForward(['--proxy', urlOf(await startServer()), `127.0.0.1:${target.port}`])
    const socket = await open(forwarding)
    socket.end(question)
    expect((await readToFin(socket)).equals(answer)).toBe(true)
    expect(received.map((data) => data.equals(question))).toEqual([true])
  })

  it('--listen [::1]:0, and a target of IPv6', async () => {
    const { port } = await startSite('::1')
    const args = ['--proxy', urlOf(await startServer()), '--listen', '[::1]:0', `[0:0::1]:${port}`]
    const forwarding = await startForward(args)
    expect(forwarding.line).toBe(`forwarding [::1]:${forwarding.port} -> [::1]:${port}\n`)
    const socket = await open(forwarding)
    socket.end('GET / HTTP/1.0\r\n\r\n')
    expect((await readToFin(socket)).toString()).toContain(PAGE)
  })

  it('a target or a proxy that refuses is one line each time, and the forward goes on', async () => {
    const proxy = await startServer()
    const target = await refusedPort()
    const { program, ...forwarding } = await startForward(['--proxy', urlOf(proxy), `127.0.0.1:${target}`])
    const refused = `tubesock: proxy ${urlOf(proxy)}, asked for 127.0.0.1:${target}: connection refused\n`
    for (const expected of [refused, refused + refused]) {
      expect((await readToFin(await open({ program, ...forwarding }))).length).toBe(0)
      await program.output(new RegExp(`^(?:.*\n){${expected.split('\n').length - 1}}`), 'stderr')
      expect(program.stderr).toBe(expected)
    }
    await proxy.server.close({ graceMs: 0 })
    await readToFin(await open({ program, ...forwarding }))
    await program.output(/^(?:.*\n){3}/, 'stderr')
    expect(program.stderr.slice(2 * refused.length)).toBe(
      `tubesock: proxy ${urlOf(proxy)}, asked for 127.0.0.1:${target}: failed while connecting to it (ECONNREFUSED)\n`,
    )
    expect(await stop(program)).toMatchObject({ code: 0 })
  })

  it('no line tells the credentials of a proxy', async () => {
    const proxy = await startServer({ auth: userPass({ alice: 'another' }) })
    const forwarding = await startForward(['--proxy', urlOf(proxy, SECRET), '127.0.0.1:9'])
    await readToFin(await open(forwarding))
    const [line] = await forwarding.program.output(/^.*\n/, 'stderr')
    expect(line).not.toContain('hunter2')
    expect(line).not.toContain('alice')
  })

  it.each([[[]], [['--udp']]])('%j exits with 1 and one line when the port is taken', async (flags) => {
    const [tcp, udp] = [await startTarget(), await Peer.open()]
    cleanup(() => tcp.close())
    const port = flags.length === 0 ? tcp.port : udp.port
    const args = ['forward', ...flags, '--proxy', 'socks5h://127.0.0.1:1', '--listen', `127.0.0.1:${port}`]
    const { code, stdout, stderr } = await tubesock([...args, 'example.com:80'])
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toBe(`tubesock: cannot listen on 127.0.0.1:${port} (EADDRINUSE)\n`)
  })
})

describe('signals', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('%s lets what is open finish, then exits with 0', async (signal) => {
    const target = await startEcho()
    cleanup(() => target.close())
    const { program, ...forwarding } = await startForward([
      ...['--proxy', urlOf(await startServer()), `127.0.0.1:${target.port}`],
    ])
    const socket = await open({ program, ...forwarding })
    socket.write('before')
    expect(String((await once(socket, 'data'))[0])).toBe('before')
    program.kill(signal)
    while (await isListening(forwarding.port)) await new Promise((resolve) => setImmediate(resolve))
    socket.write('after')
    expect(String((await once(socket, 'data'))[0])).toBe('after')
    socket.end()
    expect(await program.finished).toMatchObject({ code: 0, signal: null, stderr: '' })
  })

  it('a second one ends it at once', async () => {
    const target = await startEcho()
    cleanup(() => target.close())
    const { program, ...forwarding } = await startForward([
      ...['--proxy', urlOf(await startServer()), `127.0.0.1:${target.port}`],
    ])
    const socket = await open({ program, ...forwarding })
    socket.write('x')
    await once(socket, 'data')
    program.kill('SIGTERM')
    while (await isListening(forwarding.port)) await new Promise((resolve) => setImmediate(resolve))
    const start = performance.now()
    expect(await stop(program)).toMatchObject({ code: 0, signal: null })
    // The grace is ten seconds.
    expect(performance.now() - start).toBeLessThan(5_000)
  })
})

describe('--udp', () => {
  const UDP: ServerOptions = { commands: ['udp-associate'] }

  /** Sends, and the text that comes back. */
  async function ask(client: Peer, at: Forwarding, text: string): Promise<string> {
    await client.send(Buffer.from(text), at)
    return (await client.next()).data.toString()
  }

  it.each([
    ['127.0.0.1', '127.0.0.1:0', '127.0.0.1'],
    ['::1', '[::1]:0', '::1'],
    ['localhost', 'localhost:0', '127.0.0.1'],
  ])('takes datagrams to %s, from --listen %s', async (name, listen, echoHost) => {
    const echo = await Peer.echo(echoHost)
    const target = name.includes(':') ? `[${name}]:${echo.port}` : `${name}:${echo.port}`
    const proxy = await startServer(UDP)
    const forwarding = await startForward(['--udp', '--proxy', urlOf(proxy), '--listen', listen, target])
    expect(forwarding.line).toMatch(new RegExp(` -> ${target.replace(/[[\]]/g, '\\$&')}\n$`))
    const client = await Peer.open(forwarding.host)
    for (const size of [0, 1, 512, 1_472, 9_000, 60_000]) {
      await client.send(pattern(size), forwarding)
      const { data, from } = await client.next()
      expect(data.equals(pattern(size))).toBe(true)
      expect(from.port).toBe(forwarding.port)
    }
    expect(proxy.server.stats()).toMatchObject({ associations: 1, bytesUp: 70_985, bytesDown: 70_985 })
    expect(await stop(forwarding.program)).toMatchObject({ code: 0, signal: null, stderr: '' })
    expect(await settlesAt(() => proxy.server.stats().associations, 0)).toBe(0)
  })

  it('two clients at a time get their own answers, by associations of their own', async () => {
    const echo = await Peer.echo()
    const proxy = await startServer(UDP)
    const forwarding = await startForward(['--udp', '--proxy', urlOf(proxy), `127.0.0.1:${echo.port}`])
    const clients = [await Peer.open(), await Peer.open()]
    for (let round = 0; round < 20; round++) {
      const answers = clients.map((client, index) => ask(client, forwarding, `${index} ${round}`))
      expect(await Promise.all(answers)).toEqual([`0 ${round}`, `1 ${round}`])
    }
    expect(proxy.server.stats().associations).toBe(2)
    expect(clients.map(({ pending }) => pending)).toEqual([0, 0])
  })

  it('more clients than the proxy allows associations: those that were silent for longest make room', async () => {
    const echo = await Peer.echo()
    const before = descriptors()
    const proxy = await startServer(UDP)
    const { program, ...forwarding } = await startForward(['--udp', '--proxy', urlOf(proxy), `127.0.0.1:${echo.port}`])
    for (let index = 0; index < 300; index++) {
      const client = await Peer.open()
      expect(await ask(client, { program, ...forwarding }, `${index}`)).toBe(`${index}`)
      client.close()
    }
    expect(proxy.server.stats().failed).toBe(0)
    expect(await stop(program)).toMatchObject({ code: 0, stderr: '' })
    expect(await settlesAt(descriptors, before + 1)).toBe(before + 1)
  })

  it('a proxy that goes away is told, and used again once it is back', async () => {
    const echo = await Peer.echo()
    const first = await startServer(UDP)
    const forwarding = await startForward(['--udp', '--proxy', urlOf(first), `127.0.0.1:${echo.port}`])
    const client = await Peer.open()
    expect(await ask(client, forwarding, 'before')).toBe('before')
    await first.server.close({ graceMs: 0 })
    await forwarding.program.output(/^tubesock: the proxy has ended the association\n$/, 'stderr')
    const attempts = (): number => forwarding.program.stderr.split('\n').length - 2
    while (attempts() < 1) await sent(client, forwarding)
    expect(forwarding.program.stderr.split('\n')[1]).toBe(
      `tubesock: proxy ${urlOf(first)}, asked for 0.0.0.0:0: failed while connecting to it (ECONNREFUSED)`,
    )
    const second = createSocksServer(UDP)
    cleanup(() => second.close({ graceMs: 0 }))
    await second.listen(first.port)
    while (client.pending === 0) await sent(client, forwarding)
    expect((await client.next()).data.toString()).toBe('again')
    expect(await stop(forwarding.program)).toMatchObject({ code: 0 })
  })

  it('a proxy that does not serve UDP is told, once for many datagrams', async () => {
    const proxy = await startServer()
    const { program, ...forwarding } = await startForward(['--udp', '--proxy', urlOf(proxy), '127.0.0.1:9'])
    const client = await Peer.open()
    for (let count = 0; count < 50; count++) await client.send(Buffer.from('x'), forwarding)
    const [line] = await program.output(/^.*\n/, 'stderr')
    expect(line).toMatch(/^tubesock: proxy socks5h:.*: command not supported\n$/)
    expect(await stop(program)).toMatchObject({ code: 0, stderr: line })
  })

  /** Sends a datagram that may be lost, and gives others a turn. */
  async function sent(client: Peer, at: Forwarding): Promise<void> {
    await client.send(Buffer.from('again'), at)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
})

describe('wrong command lines', () => {
  const proxy = ['--proxy', `socks5h://${SECRET}@127.0.0.1:1`]

  it.each<[what: string, args: readonly string[], told: string]>([
    ['no target', [...proxy], 'one HOST:PORT'],
    ['two targets', [...proxy, 'a.example:1', 'b.example:2'], 'one HOST:PORT'],
    ['a target in two words', [...proxy, 'example.com', '80'], 'one HOST:PORT'],
    ['no port', [...proxy, 'example.com'], 'target'],
    ['an empty target', [...proxy, ''], 'target'],
    ['a target without a host', [...proxy, ':80'], 'target'],
    ['port 0', [...proxy, 'example.com:0'], 'target'],
    ['a port beyond 65535', [...proxy, 'example.com:65536'], 'target'],
    ['a port in words', [...proxy, 'example.com:https'], 'target'],
    ['IPv6 without brackets', [...proxy, '::1:80'], 'target'],
    ['a number for a host', [...proxy, '127.1:80'], 'target'],
    ['a host that is none', [...proxy, 'a..b:80'], 'target'],
    ['no proxy', ['example.com:80'], 'TUBESOCK_PROXY'],
    ['a proxy of another kind', ['--proxy', `http://${SECRET}@h:1`, 'example.com:80'], '--proxy'],
    ['a proxy that cannot be read', ['--proxy', `socks5h://${SECRET}@h:x`, 'example.com:80'], '--proxy'],
    ['--udp with a chain', [...proxy, ...proxy, '--udp', 'example.com:53'], 'chain'],
    ['--udp with a value', [...proxy, '--udp=yes', 'example.com:53'], '--udp'],
    ['a listener without a port', [...proxy, '--listen', '127.0.0.1', 'example.com:80'], '--listen'],
    ['an unknown option', [...proxy, '--local', '7777', 'example.com:80'], '--local'],
    ['an option without its value', ['example.com:80', '--proxy'], '--proxy'],
  ])('%s: one line, exit code 2', async (_what, args, told) => {
    const { code, stdout, stderr } = await tubesock(['forward', '--listen', '127.0.0.1:0', ...args])
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^tubesock: [ -~]*\n$/)
    expect(stderr).toContain(told)
    expect(stderr).not.toContain('hunter2')
  })

  it('a chain in TUBESOCK_PROXY with --udp', async () => {
    const env = { ...plainEnvironment(), TUBESOCK_PROXY: 'socks5h://127.0.0.1:1 socks5h://127.0.0.1:2' }
    expect(await tubesock(['forward', '--udp', 'example.com:53'], { env })).toMatchObject({ code: 2 })
  })
})
