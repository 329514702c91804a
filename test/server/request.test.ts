import { describe, expect, it, vi } from 'vitest'
import { deferred } from '../support/deferred.js'
import { connectRequest, GREETING_NO_AUTH, hex } from '../support/raw-client.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { refusedPort, startEcho, startTarget } from '../support/targets.js'

/** REP of the answer to one request, and all bytes of it, from a server whose dialer must not be reached. */
async function answerTo(request: Uint8Array, options = {}) {
  const dial = vi.fn(() => {
    throw new Error('must not dial')
  })
  const lookup = vi.fn()
  const fixture = await startServer({ dial, ...options })
  const client = await fixture.client()
  const closing = fixture.closed()
  client.write(Buffer.concat([GREETING_NO_AUTH, request]))
  const answer = (await client.readToEnd()).toString('hex')
  client.end()
  const info = await closing
  expect(dial).not.toHaveBeenCalled()
  expect(lookup).not.toHaveBeenCalled()
  return { answer: answer.slice(4), info, errors: fixture.errors }
}

const FAILURE_TAIL = '0001000000000000'

describe('request', () => {
  it('S37 the whole conversation, byte by byte, opens the tunnel', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { client: connect } = await startServer()
    const client = await connect()
    const bytes = Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port), Buffer.from('payload')])
    for (const byte of bytes) await client.send(Uint8Array.of(byte))
    client.end()
    const answer = await client.readToEnd()
    expect(answer.subarray(0, 4).toString('hex')).toBe('05000500')
    expect(answer.subarray(12).toString()).toBe('payload')
  })

  it('S39 greeting, request and payload in one segment: the payload arrives once, first and in order', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const { client: connect } = await startServer()
    const client = await connect()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port), Buffer.from('one')]))
    const socket = await target.connection()
    const received: Buffer[] = []
    socket.on('data', (chunk) => received.push(chunk))
    expect((await client.read(4)).slice(4)).toBe('0500')
    await client.send(Buffer.from('two'))
    client.end()
    await new Promise((resolve) => socket.on('end', resolve))
    expect(Buffer.concat(received).toString()).toBe('onetwo')
  })

  it('S40 S60 a payload sent early is dropped when the dial fails, and the reply arrives without a reset', async () => {
    const port = await refusedPort()
    const { client: connect, closed } = await startServer()
    const client = await connect()
    const closing = closed()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', port), Buffer.alloc(200_000, 'x')]))
    expect((await client.readToEnd()).toString('hex')).toBe(`05000505${FAILURE_TAIL}`)
    client.end()
    expect(await client.closed).toBeUndefined()
    expect(await closing).toMatchObject({ reason: 'refused', bytesUp: 0 })
  })

  it('S41 what is sent while the dial is pending is bounded by backpressure', async () => {
    const dialing = deferred()
    const { client: connect } = await startServer({
      dial: () => {
        dialing.resolve()
        return new Promise<never>(() => {})
      },
      dialTimeoutMs: 0,
    })
    const client = await connect()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', 9)]))
    await dialing.promise
    // Far more than the kernel's buffers of both sides hold on loopback.
    const megabyte = Buffer.alloc(1_048_576)
    for (let sent = 0; sent < 64; sent++) client.stream.write(megabyte)
    let stalled = client.stream.writableLength
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 50))
      if (client.stream.writableLength === stalled) break
      stalled = client.stream.writableLength
    }
    expect(stalled).toBeGreaterThan(32 * 1_048_576)
  })

  it.each(['04', '00', '01', '06', 'ff', '47'])('S42 request version %s closes without a dial', async (version) => {
    const { answer, info } = await answerTo(hex(`${version} 01 00 01 7f000001 0050`))
    expect(answer).toBe('')
    expect(info.reason).toBe('refused')
  })

  it('S43 a reserved byte that is not zero is ignored, unless strictReserved', async () => {
    const port = await refusedPort()
    const { client: connect } = await startServer()
    const client = await connect()
    const request = connectRequest('127.0.0.1', port)
    request[2] = 0x7f
    client.write(Buffer.concat([GREETING_NO_AUTH, request]))
    expect((await client.readToEnd()).toString('hex')).toBe(`05000505${FAILURE_TAIL}`)
    const strict = await answerTo(request, { strictReserved: true })
    expect(strict.answer).toBe(`0501${FAILURE_TAIL}`)
    expect(strict.errors.map(codeOf)).toEqual(['ERR_SOCKS_BAD_RESERVED'])
  })

  it.each([0x00, 0x04, 0x09, 0xf0, 0xf1, 0xff])(
    'S44 unknown command %i is answered 07 after its whole address',
    async (command) => {
      for (const host of ['127.0.0.1', 'localhost']) {
        const { answer, info } = await answerTo(connectRequest(host, 80, command))
        expect(answer).toBe(`0507${FAILURE_TAIL}`)
        expect(info.error).toMatchObject({ code: 'ERR_SOCKS_COMMAND_NOT_SUPPORTED' })
      }
    },
  )

  it.each([2, 3])('S45 command %i, which is not enabled, is answered 07', async (command) => {
    expect((await answerTo(connectRequest('0.0.0.0', 0, command))).answer).toBe(`0507${FAILURE_TAIL}`)
  })

  it('S45 a request that a rule refuses is answered 02', async () => {
    const { answer } = await answerTo(connectRequest('127.0.0.1', 80), { authorize: () => false })
    expect(answer).toBe(`0502${FAILURE_TAIL}`)
  })

  it.each([0x00, 0x02, 0x05, 0xff])('S46 unknown address type %i is answered 08', async (atyp) => {
    const { answer, errors } = await answerTo(Buffer.concat([hex('05 01 00'), Uint8Array.of(atyp), Buffer.alloc(300)]))
    expect(answer).toBe(`0508${FAILURE_TAIL}`)
    expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_BAD_ADDRESS_TYPE'])
  })

  it('S47 command and address type both bad: exactly one reply', async () => {
    expect((await answerTo(hex('05 09 00 02 7f000001 0050'))).answer).toBe(`0508${FAILURE_TAIL}`)
  })

  it('S48 zero-length domain is never dialed', async () => {
    const { answer, errors } = await answerTo(hex('05 01 00 03 00 0050'))
    expect(answer).toBe(`0501${FAILURE_TAIL}`)
    expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_INVALID_HOST'])
  })

  it('S49 a NUL in a domain is refused before rules, DNS and dial', async () => {
    const authorize = vi.fn(() => true)
    const { answer } = await answerTo(connectRequest('localhost\0.evil.com', 80), { authorize })
    expect(answer).toBe(`0504${FAILURE_TAIL}`)
    expect(authorize).not.toHaveBeenCalled()
  })

  it.each(['a b', 'a\r\nb', 'a/b', 'a@b', 'a:b', 'a%b', 'a\x7fb', 'b\u00fccher', '""""', '*', '\x1b[31m'])(
    'S50 the domain %j is refused',
    async (host) => {
      expect((await answerTo(connectRequest(host, 80))).answer).toBe(`0504${FAILURE_TAIL}`)
    },
  )

  it('S51 case and one trailing dot are gone before a rule sees the name; underscores stay', async () => {
    const seen: string[] = []
    const authorize = ({ host }: { host: string }) => {
      seen.push(host)
      return false
    }
    for (const host of ['LOCALHOST.', '_Srv_.Example.com', 'example.com.'])
      await answerTo(connectRequest(host, 80), { authorize })
    expect(seen).toEqual(['localhost', '_srv_.example.com', 'example.com'])
  })

  it.each(['...', 'a..b', '.', '.a', `${'a'.repeat(64)}.com`, `${'a.'.repeat(126)}abc`, 'a'.repeat(255)])(
    'S52 the domain %s is refused, however long it is on the wire',
    async (host) => {
      expect((await answerTo(connectRequest(host, 80))).answer).toBe(`0504${FAILURE_TAIL}`)
    },
  )

  it.each([
    ['S53', '127.0.0.1', 'ipv4', '127.0.0.1'],
    ['S55', '::1', 'ipv6', '::1'],
    ['S55', '[::1]', 'ipv6', '::1'],
    ['S57', '::ffff:10.0.0.1', 'ipv4', '10.0.0.1'],
  ])(
    '%s a domain that holds the literal %s is an IP to rules and never looked up',
    async (_case, host, type, canonical) => {
      const lookup = vi.fn()
      const authorize = vi.fn((_request: { type: string; host: string }) => false)
      const { client: connect } = await startServer({ authorize, lookup })
      const client = await connect()
      const name = Buffer.from(host)
      client.write(Buffer.concat([GREETING_NO_AUTH, hex('05 01 00 03'), Uint8Array.of(name.length), name, hex('0050')]))
      expect((await client.readToEnd()).toString('hex')).toBe(`05000502${FAILURE_TAIL}`)
      expect(authorize.mock.calls[0]?.[0]).toMatchObject({ type, host: canonical })
      expect(lookup).not.toHaveBeenCalled()
    },
  )

  it.each([
    '127.1',
    '0',
    '0x7f000001',
    '2130706433',
    '0177.0.0.1',
    '127.0.0.0x1',
    '1.2.3.4.5',
    '256.0.0.1',
    '127.0.0.1.1.',
  ])('S54 the inet_aton spelling %s is refused', async (host) => {
    const name = Buffer.from(host)
    const request = Buffer.concat([hex('05 01 00 03'), Uint8Array.of(name.length), name, hex('0050')])
    expect((await answerTo(request)).answer).toBe(`0504${FAILURE_TAIL}`)
  })

  it('S56 a zone is refused', async () => {
    expect((await answerTo(connectRequest('fe80::1%eth0', 80))).answer).toBe(`0504${FAILURE_TAIL}`)
  })

  it('S57 an IPv4-mapped address is IPv4 to rules', async () => {
    const seen: unknown[] = []
    const authorize = ({ type, host }: { type: string; host: string }) => {
      seen.push({ type, host })
      return false
    }
    await answerTo(hex('05 01 00 04 00000000000000000000ffff 7f000001 0050'), { authorize })
    expect(seen).toEqual([{ type: 'ipv4', host: '127.0.0.1' }])
  })

  it.each([
    ['0.0.0.0', '05 01 00 01 00000000 0050'],
    ['::', '05 01 00 04 00000000000000000000000000000000 0050'],
    ['::ffff:0.0.0.0', '05 01 00 04 00000000000000000000ffff00000000 0050'],
  ])('S58 CONNECT to %s is refused', async (_host, request) => {
    expect((await answerTo(hex(request))).answer).toBe(`0504${FAILURE_TAIL}`)
  })

  it('S59 CONNECT to port 0 is answered 01', async () => {
    const { answer, errors } = await answerTo(connectRequest('127.0.0.1', 0))
    expect(answer).toBe(`0501${FAILURE_TAIL}`)
    expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_INVALID_PORT'])
  })

  it('S61 FIN in the middle of a request closes without a dial or a reply', async () => {
    const request = connectRequest('example.com', 80)
    for (let length = 0; length < request.length; length++) {
      const dial = vi.fn()
      const { client: connect, closed } = await startServer({ dial })
      const client = await connect()
      const closing = closed()
      client.write(Buffer.concat([GREETING_NO_AUTH, request.subarray(0, length)]))
      client.end()
      expect((await client.readToEnd()).toString('hex')).toBe('0500')
      expect(await closing).toMatchObject({ error: { code: 'ERR_SOCKS_CONNECTION_CLOSED' } })
      expect(dial).not.toHaveBeenCalled()
    }
  })
})
