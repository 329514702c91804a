import { describe, expect, it, vi } from 'vitest'
import { noAuth, userPass } from '../../src/server/index.js'
import { GREETING_NO_AUTH } from '../support/raw-client.js'
import { codeOf, startServer } from '../support/servers.js'

const password = userPass({ user: 'pass' })

describe('greeting', () => {
  it('S1 no methods at all are answered 05 FF and closed', async () => {
    const { client: connect, closed } = await startServer()
    const client = await connect()
    const closing = closed()
    client.write('05 00')
    expect((await client.readToEnd()).toString('hex')).toBe('05ff')
    client.end()
    expect(await closing).toMatchObject({ reason: 'auth-failed', error: { code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD' } })
  })

  it('S2 no common method gets exactly one 05 FF and nothing after it', async () => {
    const { client: connect } = await startServer({ auth: password })
    const client = await connect()
    client.write('05 02 00 80 05 01 00 01 7f000001 0050')
    expect((await client.readToEnd()).toString('hex')).toBe('05ff')
  })

  it('S3 after 05 FF the client closes; one that does not is destroyed within ten seconds', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const { client: connect, closed } = await startServer({ auth: password })
      const client = await connect()
      const closing = closed()
      client.write('05 01 00')
      expect(await client.read(2)).toBe('05ff')
      client.write('00 00 00 00')
      expect((await client.readToEnd()).length).toBe(0)
      await vi.advanceTimersByTimeAsync(10_000)
      expect(await closing).toMatchObject({ reason: 'auth-failed' })
    } finally {
      vi.useRealTimers()
    }
  })

  it("S4 of all 255 methods the server's own order decides", async () => {
    const all = Uint8Array.from({ length: 257 }, (_, index) => (index === 0 ? 5 : index === 1 ? 255 : 256 - index))
    const first = await startServer({ auth: [password, noAuth()] })
    const one = await first.client()
    one.write(all)
    expect(await one.read(2)).toBe('0502')
    const second = await startServer({ auth: [noAuth(), password] })
    const two = await second.client()
    two.write(all)
    expect(await two.read(2)).toBe('0500')
  })

  it('S5 a method listed three times is chosen once', async () => {
    const { client: connect } = await startServer()
    const client = await connect()
    client.write('05 03 00 00 00')
    client.end()
    expect((await client.readToEnd()).toString('hex')).toBe('0500')
  })

  it('S6 a client that offers only FF gets 05 FF, never 05 00', async () => {
    const { client: connect } = await startServer()
    const client = await connect()
    client.write('05 01 ff')
    expect((await client.readToEnd()).toString('hex')).toBe('05ff')
  })

  it('S7 a method that the client did not list is never selected', async () => {
    const { client: connect } = await startServer({ auth: [noAuth(), password] })
    for (const [offer, answer] of [
      ['05 01 02', '0502'],
      ['05 01 00', '0500'],
      ['05 01 01', '05ff'],
      ['05 02 01 80', '05ff'],
    ] as const) {
      const client = await connect()
      client.write(offer)
      expect(await client.read(2)).toBe(answer)
    }
  })

  it.each([
    ['04', 'ERR_SOCKS_BAD_VERSION'],
    ['00', 'ERR_SOCKS_BAD_VERSION'],
    ['ff', 'ERR_SOCKS_BAD_VERSION'],
    ['16', 'ERR_SOCKS_PEER_IS_TLS'],
  ])('S11 S13 first byte %s closes at once, without a byte, with code %s', async (first, code) => {
    const { client: connect, closed, errors } = await startServer()
    const client = await connect()
    const closing = closed()
    client.write(first)
    expect((await client.readToEnd()).length).toBe(0)
    expect(await closing).toMatchObject({ reason: 'refused', error: { code } })
    expect(errors.map(codeOf)).toEqual([code])
  })

  it.each(['GET / HTTP/1.1\r\n\r\n', 'CONNECT a:1 HTTP/1.1\r\n\r\n', 'POST / HTTP/1.0\r\n', 'HEAD'])(
    'S12 an HTTP client (%j) is told with 501 that this is SOCKS',
    async (request) => {
      const { client: connect, errors } = await startServer()
      const client = await connect()
      client.write(Buffer.from(request))
      const answer = (await client.readToEnd()).toString()
      expect(answer).toMatch(/^HTTP\/1\.0 501 /)
      expect(answer).toContain('SOCKS5')
      expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_PEER_IS_HTTP'])
    },
  )

  it.each([
    ['nothing', ''],
    ['one byte', '05'],
    ['a greeting and half a request', '05 01 00 05 01 00'],
  ])('S16 %s and then silence is closed by the handshake deadline', async (_what, bytes) => {
    const { client: connect, closed } = await startServer({ handshakeTimeoutMs: 60 })
    const client = await connect()
    const closing = closed()
    client.write(bytes)
    await client.readToEnd()
    expect(await closing).toMatchObject({ reason: 'handshake-timeout', error: { code: 'ERR_SOCKS_HANDSHAKE_TIMEOUT' } })
  })

  it('S17 the deadline is for the whole handshake: a byte now and then does not extend it', async () => {
    const { client: connect, closed } = await startServer({ handshakeTimeoutMs: 150 })
    const client = await connect()
    const closing = closed()
    let written = 0
    // Far more bytes than fit into the deadline, each sent well within it.
    const drip = setInterval(
      () => client.stream.write(written++ === 0 ? '\x05' : written === 2 ? '\xff' : '\x01', 'latin1'),
      10,
    )
    try {
      expect(await closing).toMatchObject({ reason: 'handshake-timeout' })
      expect(written).toBeLessThan(250)
    } finally {
      clearInterval(drip)
    }
  })

  it('S18 connect and close without a byte is silent', async () => {
    const { client: connect, closed, errors } = await startServer()
    const closing = closed()
    const client = await connect()
    client.end()
    expect(await closing).toMatchObject({ reason: 'empty', error: undefined })
    const again = closed()
    const other = await connect()
    other.reset()
    expect(await again).toMatchObject({ reason: 'empty', error: undefined })
    expect(errors).toEqual([])
  })

  it('S38 a greeting and a request in one segment are answered in order', async () => {
    const { client: connect } = await startServer({ authorize: () => false })
    const client = await connect()
    client.write(
      Buffer.concat([
        GREETING_NO_AUTH,
        Buffer.from('0501000308', 'hex'),
        Buffer.from('test.exe'),
        Buffer.from([0, 80]),
      ]),
    )
    expect((await client.readToEnd()).toString('hex')).toBe('050005020001000000000000')
  })
})
