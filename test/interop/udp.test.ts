// Datagrams: our client through the relay of another server, and other people's clients through ours.
import { execFileSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { delimiter, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { SocksClient, type UdpAssociation, type UdpSender } from '../../src/client/index.js'
import { Program, run } from '../support/cli.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { findProgram, requireProgram } from '../support/programs.js'
import { cleanup, startServer } from '../support/servers.js'
import { Peer, pattern } from '../udp/support.js'
import { Daemon, freePort, type Peer as Server, shared, temporaryDirectory } from './peers.js'
import { socksifyUdp } from './socksify.js'

const SIZES = [1, 512, 1_472, 9_000]

describe('through Dante', () => {
  const program = requireProgram('danted', 'dante-server')
  const dante = shared([program], () => startDante())

  it('C118 S124 one association, several targets: what comes back is what was sent, from whom it was sent to', async () => {
    const targets = await Promise.all([Peer.echo(), Peer.echo(), Peer.echo('127.0.0.2'), Peer.echo('::1')])
    const association = await associate(dante().port)
    let bytes = 0
    for (const size of [...SIZES, 0, 60_000]) {
      for (const { host, port } of targets) {
        const { data, from } = await echoed(association, pattern(size), port, host)
        expect(data.equals(pattern(size))).toBe(true)
        expect(from).toMatchObject({ address: host, port, size })
        bytes += size
      }
    }
    expect(association.stats()).toMatchObject({ datagramsSent: 24, bytesSent: bytes, datagramsReceived: 24 })
    expect(Object.values(association.stats().dropped).reduce((sum, count) => sum + count)).toBe(0)
  })

  it('C118 the largest payload there is, and a name that Dante looks up', async () => {
    const echo = await Peer.echo()
    const association = await associate(dante().port)
    const largest = pattern(association.maxPayload('127.0.0.1'))
    expect((await echoed(association, largest, echo.port, '127.0.0.1')).data.equals(largest)).toBe(true)
    const { data, from } = await echoed(association, pattern(512), echo.port, 'localhost')
    expect(data.equals(pattern(512))).toBe(true)
    // It tells who sent it, not what it was called.
    expect(from).toMatchObject({ address: '127.0.0.1', family: 'IPv4', port: echo.port })
  })

  it('C107 fragments are lost there, as at most relays, and nothing else is', async () => {
    const echo = await Peer.echo()
    const association = await associate(dante().port)
    association.send(pattern(300), echo.port, '127.0.0.1', { fragment: 100 })
    expect((await echoed(association, Buffer.from('whole'), echo.port, '127.0.0.1')).data.toString()).toBe('whole')
  })

  it('two associations at a time do not hear each other', async () => {
    const echo = await Peer.echo()
    const both = [await associate(dante().port), await associate(dante().port)]
    for (let round = 0; round < 20; round++) {
      const answers = both.map((one, index) => echoed(one, Buffer.from(`${index} ${round}`), echo.port, '127.0.0.1'))
      expect((await Promise.all(answers)).map(({ data }) => `${data}`)).toEqual([`0 ${round}`, `1 ${round}`])
    }
  })

  it('C98 close() takes the relay of the far side away, and leaves nothing open here', async () => {
    const before = await settlesAt(descriptors, descriptors())
    let relayPort = 0
    const client = new SocksClient({
      proxy: `socks5h://127.0.0.1:${dante().port}`,
      onHop: ({ bound }) => {
        relayPort = bound.port
      },
    })
    const association = await client.udpAssociate()
    await expect(bindable(relayPort)).resolves.toBe(false)
    association.close()
    while (!(await bindable(relayPort))) await new Promise((resolve) => setImmediate(resolve))
    expect(await settlesAt(descriptors, before)).toBe(before)
  })

  it('C98 an association that Dante ends, because it is idle, ends here with an error that says so', async () => {
    const association = await associate(dante().port)
    const failing = new Promise((resolve) => association.once('error', resolve))
    const closing = new Promise<void>((resolve) => association.once('close', () => resolve()))
    expect(await failing).toMatchObject({ code: 'ERR_SOCKS_CONNECTION_CLOSED' })
    await closing
    expect(() => association.send('x', 9, '127.0.0.1')).toThrow('closed')
  })

  it('C98 so does one whose Dante is killed', async () => {
    const mortal = await startDante()
    cleanup(() => mortal.stop())
    const echo = await Peer.echo()
    const association = await associate(mortal.port)
    await echoed(association, Buffer.from('x'), echo.port, '127.0.0.1')
    const failing = new Promise((resolve) => association.once('error', resolve))
    await mortal.stop()
    expect(await failing).toMatchObject({ code: 'ERR_SOCKS_CONNECTION_CLOSED' })
    expect(association.closed).toBe(true)
  })

  it('what a rule of Dante refuses is lost without a word, and nothing else is', async () => {
    const strict = await startDante(['socks block { from: 0.0.0.0/0 to: 127.0.0.2/32 command: udpassociate }'])
    cleanup(() => strict.stop())
    const [open, forbidden] = [await Peer.echo(), await Peer.echo('127.0.0.2')]
    const association = await associate(strict.port)
    association.send('no', forbidden.port, forbidden.host)
    expect((await echoed(association, Buffer.from('yes'), open.port, open.host)).data.toString()).toBe('yes')
    expect([association.stats().datagramsReceived, forbidden.pending]).toEqual([1, 0])
  })
})

describe('nc -u under socksify', () => {
  const socksify = requireProgram('socksify', 'dante-client')
  const nc = requireProgram('nc.openbsd', 'netcat-openbsd')

  it('S105 sends datagrams through our server and prints what comes back', async () => {
    const fixture = await startServer({ commands: ['udp-associate'] })
    const echo = await Peer.echo()
    const program = new Program(socksify, [nc, '-u', '127.0.0.1', String(echo.port)], {
      keepStdinOpen: true,
      env: socksifyUdp(fixture.port),
    })
    let got = Buffer.alloc(0)
    let arrived: () => void = () => {}
    program.child.stdout.on('data', (chunk: Buffer) => {
      got = Buffer.concat([got, chunk])
      arrived()
    })
    for (const size of SIZES) {
      got = Buffer.alloc(0)
      // One read of its stdin is one datagram.
      program.child.stdin.write(pattern(size))
      while (got.length < size) {
        await new Promise<void>((resolve) => {
          arrived = resolve
        })
      }
      expect(got.equals(pattern(size))).toBe(true)
      const { data, from } = await echo.next()
      expect(data.length).toBe(size)
      // Not from nc itself: from the relay's way out.
      expect(from.port).not.toBe(fixture.port)
    }
    const bytes = SIZES.reduce((sum, size) => sum + size)
    expect(fixture.server.stats()).toMatchObject({ associations: 1, bytesUp: bytes, bytesDown: bytes })
    const closing = fixture.closed()
    program.kill('SIGTERM')
    expect(await closing).toMatchObject({ reason: 'end', bytesUp: bytes, bytesDown: bytes })
    expect(fixture.server.stats().associations).toBe(0)
  })
})

describe('PySocks', () => {
  const python = pythonWith('socks')
  requireProgram(python === undefined ? 'a python3 that imports socks' : 'python3', 'python3-socks')

  // With rdns it names "0" as its own address, which is no name.
  it.each(['False', 'True'])('S102 one datagram socket, several targets, rdns=%s', async (rdns) => {
    const fixture = await startServer({ commands: ['udp-associate'] })
    const targets = await Promise.all([Peer.echo(), Peer.echo(), Peer.echo('127.0.0.2')])
    const script = `
import socks, socket, sys
s = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
s.set_proxy(socks.SOCKS5, '127.0.0.1', ${fixture.port}, rdns=${rdns})
s.settimeout(20)
for size in ${JSON.stringify(SIZES)}:
    for host, port in ${JSON.stringify(targets.map(({ host, port }) => [host, port]))}:
        data = bytes((i * 7 + size) % 256 for i in range(size))
        s.sendto(data, (host, port))
        answer, sender = s.recvfrom(65535)
        assert answer == data, (size, len(answer))
        assert sender == (host, port), sender
print('done')
`
    const { code, stdout, stderr } = await run(python ?? '', ['-c', script])
    expect({ code, stdout: stdout.toString(), stderr }).toEqual({ code: 0, stdout: 'done\n', stderr: '' })
    const bytes = 3 * SIZES.reduce((sum, size) => sum + size)
    expect(fixture.server.stats()).toMatchObject({ bytesUp: bytes, bytesDown: bytes, failed: 0 })
  })
})

async function associate(port: number): Promise<UdpAssociation> {
  const association = await SocksClient.udpAssociate({ proxy: `socks5h://127.0.0.1:${port}` })
  cleanup(() => association.close())
  return association
}

/** Sends, and the next datagram that comes back. */
async function echoed(association: UdpAssociation, payload: Uint8Array, port: number, host: string) {
  const answer = once(association, 'message')
  association.send(payload, port, host)
  const [data, from] = (await answer) as [Buffer, UdpSender] // of 'message'
  return { data, from }
}

/** Whether nobody has that port of 127.0.0.1. */
async function bindable(port: number): Promise<boolean> {
  const socket = createSocket('udp4')
  try {
    socket.bind(port, '127.0.0.1')
    await once(socket, 'listening')
    return true
  } catch {
    return false
  } finally {
    socket.close()
  }
}

/** Dante, which gives up associations that were silent for two seconds. */
async function startDante(rules: readonly string[] = []): Promise<Pick<Server, 'port' | 'stop'>> {
  const port = await freePort()
  const directory = temporaryDirectory()
  const file = join(directory, 'danted.conf')
  const user = userInfo().username
  const config = [
    'logoutput: stderr',
    `internal: 127.0.0.1 port = ${port}`,
    'external: lo',
    'clientmethod: none',
    'socksmethod: none',
    'timeout.io.udp: 2',
    `user.privileged: ${user}`,
    `user.unprivileged: ${user}`,
    'client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }',
    ...rules,
    'socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 command: udpassociate udpreply }',
    'socks pass { from: 127.0.0.0/8 to: ::/0 command: udpassociate }',
    'socks pass { from: ::/0 to: 127.0.0.0/8 command: udpreply }',
  ]
  writeFileSync(file, `${config.join('\n')}\n`)
  const daemon = new Daemon('danted', ['-f', file], directory)
  await daemon.says(/ running$/m)
  return { port, stop: () => daemon.stop() }
}

/** The first Python in PATH that has a module: not every one of them sees the packages of the system. */
function pythonWith(module: string): string | undefined {
  return (process.env.PATH ?? '').split(delimiter).flatMap((directory) => {
    const python = findProgram('python3', directory)
    if (python === undefined) return []
    try {
      execFileSync(python, ['-c', `import ${module}`], { stdio: 'ignore' })
      return [python]
    } catch {
      return []
    }
  })[0]
}
