import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { isListening, type Serving, startServe, tubesock } from '../support/cli.js'
import { connectRequest, credentials, GREETING_NO_AUTH, GREETING_USER_PASS, RawClient } from '../support/raw-client.js'
import { cleanup } from '../support/servers.js'
import { refusedPort, startEcho, startTarget } from '../support/targets.js'

const PASSWORD = 'correct-horse'

describe('tubesock serve', () => {
  it.each([
    ['127.0.0.1:0', '127.0.0.1'],
    ['[::1]:0', '::1'],
    ['0', '127.0.0.1'],
  ])('--listen %s prints where it listens, and is ready then', async (listen, expected) => {
    const { host, port, program } = await startServe([], listen)
    expect(host).toBe(expected)
    expect(port).toBeGreaterThan(0)
    expect(await isListening(port, host)).toBe(true)
    expect(await stop(program)).toMatchObject({ code: 0, signal: null, stderr: '' })
  })

  it('tunnels to what a loopback client asks for', async () => {
    const serving = await startServe()
    const client = await tunnel(serving, await echoPort())
    client.write('01 02 03')
    expect(await client.read(3)).toBe('010203')
  })

  it('says what there is with --help', async () => {
    for (const args of [['--help'], ['help'], ['-h'], ['serve', '--help']]) {
      const { code, stdout, stderr } = await tubesock(args)
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout.toString()).toMatch(/^usage: .*--handshake-timeout SECONDS/s)
    }
  })
})

describe('users', () => {
  it('--user may be repeated; everybody else is turned away', async () => {
    const serving = await startServe(['--user', `ann:${PASSWORD}`, '--user', 'bob:a:b', '--user', 'none:'])
    expect(await login(serving, 'ann', PASSWORD)).toBe('0100')
    expect(await login(serving, 'bob', 'a:b')).toBe('0100')
    expect(await login(serving, 'none', '')).toBe('0100')
    expect(await login(serving, 'bob', 'a')).toBe('0101')
    expect(await login(serving, 'ann', 'a:b')).toBe('0101')
    expect(await login(serving, 'eve', PASSWORD)).toBe('0101')
    const anonymous = await connect(serving)
    anonymous.write(GREETING_NO_AUTH)
    expect((await anonymous.readToEnd()).toString('hex')).toBe('05ff')
  })

  it('--users reads comments, empty lines, CRLF and passwords with colons, and goes together with --user', async () => {
    const file = temporaryFile('# people\r\n\r\nann:x:y:\r\nbob:  spaces \r\n#eve:eve\nlast:line')
    const serving = await startServe(['--users', file, '--user', 'cli:too'])
    expect(await login(serving, 'ann', 'x:y:')).toBe('0100')
    expect(await login(serving, 'bob', '  spaces ')).toBe('0100')
    expect(await login(serving, 'last', 'line')).toBe('0100')
    expect(await login(serving, 'cli', 'too')).toBe('0100')
    expect(await login(serving, 'ann', 'x:y:\r')).toBe('0101')
    expect(await login(serving, 'eve', 'eve')).toBe('0101')
    expect(await login(serving, '#eve', 'eve')).toBe('0101')
  })

  it('--users takes a file with a byte order mark', async () => {
    const serving = await startServe(['--users', temporaryFile('\ufeffann:secret\n')])
    expect(await login(serving, 'ann', 'secret')).toBe('0100')
  })

  it.each(['__proto__', 'constructor', 'ünï'])('a user may be called %s', async (name) => {
    const serving = await startServe(['--user', `${name}:${PASSWORD}`])
    expect(await login(serving, name, PASSWORD)).toBe('0100')
    expect(await login(serving, 'toString', '')).toBe('0101')
  })
})

describe('options', () => {
  it.each([
    ['any', '00'],
    ['no-local', '02'],
    ['public', '02'],
  ])('--egress %s answers a request for loopback with %s', async (word, reply) => {
    const port = await echoPort()
    const serving = await startServe(['--egress', word])
    expect(await request(serving, '127.0.0.1', port)).toBe(reply)
    expect(await request(serving, 'localhost', port)).toBe(reply)
  })

  it('--handshake-timeout cuts a client that does not get on with it', async () => {
    const { program, port } = await startServe(['--handshake-timeout', '0.1'])
    const client = await connect({ port })
    client.write('05')
    expect((await client.readToEnd()).length).toBe(0)
    await program.output(/ERR_SOCKS_HANDSHAKE_TIMEOUT/, 'stderr')
  })

  it.each([['--allow-anonymous'], ['--user', 'ann:secret']])(
    '%s lets it listen where others can reach it',
    async (...args) => {
      const { host } = await startServe(args, '0.0.0.0:0')
      expect(host).toBe('0.0.0.0')
    },
  )

  it('exits with 1 and one line when the port is taken', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const { code, stdout, stderr } = await tubesock(['serve', '--listen', `127.0.0.1:${target.port}`])
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toBe(`tubesock: cannot listen on 127.0.0.1:${target.port} (EADDRINUSE)\n`)
  })
})

describe('wrong command lines', () => {
  const empty = () => temporaryFile('# nobody\n\n')
  const long = 'x'.repeat(256)

  it.each<[what: string, args: () => string[]]>([
    ['no command', () => []],
    ['an unknown command', () => ['server']],
    ['a command of Object.prototype', () => ['constructor']],
    ['a password as a command', () => [`ann:${PASSWORD}`]],
    ['an unknown option', () => ['serve', '--usr', `ann:${PASSWORD}`]],
    ['an unknown option with a value', () => ['serve', `--usr=ann:${PASSWORD}`]],
    ['an unknown short option', () => ['serve', '-u', `ann:${PASSWORD}`]],
    ['an extra argument', () => ['serve', 'ann']],
    ['a password as an argument', () => ['serve', `ann:${PASSWORD}`]],
    ['a password after --', () => ['serve', '--', `ann:${PASSWORD}`]],
    ['a flag with a value', () => ['serve', `--allow-anonymous=${PASSWORD}`]],
    ['an option without its value', () => ['serve', '--user']],
    ['an option in the place of a value', () => ['serve', '--user', '--log', 'none']],
    ['a password where an address belongs', () => ['serve', '--listen', `ann:${PASSWORD}@127.0.0.1:0`]],
    ['no address', () => ['serve', '--listen', '']],
    ['an address without a port', () => ['serve', '--listen', '127.0.0.1']],
    ['a port beyond 65535', () => ['serve', '--listen', '127.0.0.1:65536']],
    ['a negative port', () => ['serve', '--listen', '127.0.0.1:-1']],
    ['a port in words', () => ['serve', '--listen', '127.0.0.1:socks']],
    ['an IPv6 address without brackets', () => ['serve', '--listen', '::1:1080']],
    ['an address that others can reach', () => ['serve', '--listen', '0.0.0.0:0']],
    ['an IPv6 address that others can reach', () => ['serve', '--listen', '[::]:0']],
    ['a user without a password', () => ['serve', '--user', PASSWORD]],
    ['a user without a name', () => ['serve', '--user', `:${PASSWORD}`]],
    ['no user', () => ['serve', '--user', '']],
    ['a name over 255 bytes', () => ['serve', '--user', `${long}:${PASSWORD}`]],
    ['a password over 255 bytes', () => ['serve', '--user', `${PASSWORD}:${'ü'.repeat(128)}`]],
    ['a missing file', () => ['serve', '--users', join(tmpdir(), 'no-such-tubesock-file')]],
    ['a directory as a file', () => ['serve', '--users', tmpdir()]],
    ['a file without users', () => ['serve', '--users', empty()]],
    ['a bad line in a file', () => ['serve', '--users', temporaryFile(`ann:ok\n${PASSWORD}\n`)]],
    ['an unknown policy', () => ['serve', '--egress', 'nothing']],
    ['an unknown log format', () => ['serve', '--log', 'xml']],
    ['a time in words', () => ['serve', '--handshake-timeout', 'long']],
    ['no time', () => ['serve', '--handshake-timeout', '']],
    ['a negative time', () => ['serve', '--handshake-timeout=-1']],
    ['a time beyond what timers can wait', () => ['serve', '--handshake-timeout', '2147484']],
    ['an endless time', () => ['serve', '--handshake-timeout', 'Infinity']],
  ])('%s: exit 2 and one line, without the secret', async (what, args) => {
    const { code, stdout, stderr } = await tubesock(args())
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 2, stdout: '' })
    // Without any word the command explains itself.
    if (what !== 'no command') expect(stderr).toMatch(/^tubesock: [^\n]+\n$/)
    expect(stderr).not.toContain(PASSWORD)
    expect(stderr).not.toMatch(/\bat .*:\d+:\d+/)
  })
})

describe('--log', () => {
  it('text tells of denials and errors only, and never a password', async () => {
    const serving = await startServe(['--user', `ann:${PASSWORD}`, '--log', 'text'])
    await talk(serving)
    const { stderr } = await stop(serving.program)
    const lines = stderr.trimEnd().split('\n')
    expect(lines).toHaveLength(2)
    expect(lines[0]).toMatch(/^\S+Z closed 127\.0\.0\.1 ERR_SOCKS_AUTH_FAILED: /)
    expect(lines[1]).toMatch(/^\S+Z closed 127\.0\.0\.1 "ann" -> 127\.0\.0\.1:\d+ ERR_SOCKS_CONNECTION_REFUSED: /)
    expect(stderr).not.toContain(PASSWORD)
    expect(stderr).not.toContain('wrong-guess')
  })

  it('json tells of every event, one object a line, and never a password', async () => {
    const serving = await startServe(['--user', `ann:${PASSWORD}`, '--log', 'json'])
    await talk(serving)
    const { stderr } = await stop(serving.program)
    const events = stderr.trimEnd().split('\n').map(parseEvent)
    const told = (id: number) => events.filter((event) => event.id === id)
    expect(told(1)).toMatchObject([
      { event: 'session', client: '127.0.0.1', clientPort: expect.any(Number) },
      { event: 'denied', rule: 'auth', code: 'ERR_SOCKS_AUTH_FAILED' },
      { event: 'closed', reason: 'auth-failed', error: expect.stringMatching(/^ERR_SOCKS_AUTH_FAILED: /) },
    ])
    expect(told(2)).toMatchObject([
      { event: 'session' },
      { event: 'request', command: 'connect', host: '127.0.0.1', port: expect.any(Number) },
      { event: 'established', boundHost: '127.0.0.1', boundPort: expect.any(Number) },
      { event: 'closed', user: 'ann', bytesUp: 3, bytesDown: 3, reason: 'end', host: '127.0.0.1' },
    ])
    expect(told(3)).toMatchObject([{ event: 'session' }, { event: 'request' }, { event: 'closed', reason: 'refused' }])
    expect(events).toHaveLength(10)
    expect(stderr).not.toContain(PASSWORD)
    expect(stderr).not.toContain('wrong-guess')
  })

  it('none tells nothing', async () => {
    const serving = await startServe(['--user', `ann:${PASSWORD}`, '--log', 'none'])
    await talk(serving)
    expect(await stop(serving.program)).toMatchObject({ code: 0, stderr: '' })
  })

  it.each(['text', 'json'])('%s: no name can forge a line or steer the terminal', async (format) => {
    const name = 'x\n2020-01-01 closed forged\r\x1b[2J\u009b31m\u2028\u202e'
    const serving = await startServe(['--user', `${name}:secret`, '--log', format])
    const client = await authenticated(serving, name, 'secret')
    client.write(connectRequest('127.0.0.1', await refusedPort()))
    await client.readToEnd()
    client.end()
    await client.closed
    const { stderr } = await stop(serving.program)
    expect(stderr).toContain('forged')
    // As JSON the request and its end name the user, as text only the end does.
    const lines = stderr.split('\n').filter((line) => line.includes('forged'))
    expect(lines).toHaveLength(format === 'json' ? 2 : 1)
    expect(stderr).not.toMatch(/^2020/m)
    // Newlines between the lines are the only control characters; no separators or bidirectional marks either.
    expect(stderr).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
    if (format === 'json') expect(stderr.trimEnd().split('\n').map(parseEvent).at(-1)).toMatchObject({ user: name })
  })
})

describe('--upstream', () => {
  it('says which way out it takes, without credentials, and not with --log none', async () => {
    const upstream = ['--upstream', 'socks5h://user:geheim@127.0.0.1:9', '--upstream', 'socks5h://[::1]:9']
    const { program } = await startServe(upstream)
    const { stderr } = await stop(program)
    expect(stderr).toBe('going out through socks5h://127.0.0.1:9, then socks5h://[::1]:9\n')
    const quiet = await startServe([...upstream, '--log', 'none'])
    expect((await stop(quiet.program)).stderr).toBe('')
  })
})

describe('signals', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('%s lets a tunnel finish, then exits with 0', async (signal) => {
    const { program, port } = await startServe()
    const client = await tunnel({ port }, await echoPort())
    const idle = await greeted({ port })
    program.kill(signal)
    // Clients without a request go first; it no longer listens then.
    await idle.readToEnd()
    expect(await isListening(port)).toBe(false)
    client.write('68 69')
    expect(await client.read(2)).toBe('6869')
    client.end()
    expect((await client.readToEnd()).length).toBe(0)
    expect(await program.finished).toMatchObject({ code: 0, signal: null, stderr: '' })
  })

  it('a second signal ends tunnels at once', async () => {
    const { program, port } = await startServe()
    const client = await tunnel({ port }, await echoPort())
    const idle = await greeted({ port })
    program.kill('SIGINT')
    await idle.readToEnd()
    program.kill('SIGTERM')
    expect(await program.finished).toMatchObject({ code: 0, signal: null })
    await client.readToEnd()
    // When the grace is over, the tunnel's end is told of; here it was not waited for.
    expect(program.stderr).not.toContain(' -> ')
  })

  it('goes on when nobody reads its log any more', async () => {
    const serving = await startServe(['--log', 'json'])
    serving.program.child.stderr.destroy()
    serving.program.child.stdout.destroy()
    const port = await echoPort()
    for (let round = 0; round < 3; round++) {
      const client = await tunnel(serving, port)
      client.write('01')
      expect(await client.read(1)).toBe('01')
      client.stream.destroy()
    }
    expect(await stop(serving.program)).toMatchObject({ code: 0 })
  })
})

type Where = Pick<Serving, 'port'>

async function connect({ port }: Where): Promise<RawClient> {
  const client = await RawClient.connect(port)
  cleanup(() => client.stream.destroy())
  return client
}

async function greeted(where: Where): Promise<RawClient> {
  const client = await connect(where)
  client.write(GREETING_NO_AUTH)
  expect(await client.read(2)).toBe('0500')
  return client
}

/** The answer to credentials, as hex. */
async function login(where: Where, name: string, password: string): Promise<string> {
  const client = await connect(where)
  client.write(Buffer.concat([GREETING_USER_PASS, credentials(name, password)]))
  expect(await client.read(2)).toBe('0502')
  const answer = await client.read(2)
  client.stream.destroy()
  return answer
}

async function authenticated(where: Where, name: string, password: string): Promise<RawClient> {
  const client = await connect(where)
  client.write(Buffer.concat([GREETING_USER_PASS, credentials(name, password)]))
  expect(await client.read(4)).toBe('05020100')
  return client
}

/** The reply code of a CONNECT, as hex. */
async function request(where: Where, host: string, port: number): Promise<string> {
  const client = await greeted(where)
  client.write(connectRequest(host, port))
  const reply = await client.read(10)
  client.stream.destroy()
  return reply.slice(2, 4)
}

async function tunnel(where: Where, port: number): Promise<RawClient> {
  const client = await greeted(where)
  client.write(connectRequest('127.0.0.1', port))
  expect((await client.read(10)).slice(0, 4)).toBe('0500')
  return client
}

/** A wrong password, a tunnel, and a refused connection, one after the other. */
async function talk(serving: Serving): Promise<void> {
  const denied = await connect(serving)
  denied.write(Buffer.concat([GREETING_USER_PASS, credentials('ann', 'wrong-guess')]))
  expect((await denied.readToEnd()).toString('hex')).toBe('05020101')
  await close(denied)
  const open = await authenticated(serving, 'ann', PASSWORD)
  open.write(connectRequest('127.0.0.1', await echoPort()))
  expect((await open.read(10)).slice(0, 4)).toBe('0500')
  open.write('01 02 03')
  expect(await open.read(3)).toBe('010203')
  await close(open)
  const refused = await authenticated(serving, 'ann', PASSWORD)
  refused.write(connectRequest('127.0.0.1', await refusedPort()))
  expect((await refused.readToEnd()).toString('hex')).toBe('05050001000000000000')
  await close(refused)
}

async function close(client: RawClient): Promise<void> {
  client.end()
  await client.closed
}

async function stop(program: Serving['program']): Promise<Awaited<Serving['program']['finished']>> {
  program.kill('SIGTERM')
  return program.finished
}

async function echoPort(): Promise<number> {
  const echo = await startEcho()
  cleanup(() => echo.close())
  return echo.port
}

function parseEvent(line: string): { readonly event: string } & Record<string, unknown> {
  return JSON.parse(line)
}

function temporaryFile(content: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'tubesock-'))
  cleanup(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'users')
  writeFileSync(file, content)
  return file
}
