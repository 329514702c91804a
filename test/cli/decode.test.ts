import { execFileSync } from 'node:child_process'
import { PassThrough, Readable, Writable } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode } from '../../src/cli/decode.js'
import { type Dissection, dissect } from '../../src/codec/dissect.js'
import { hex } from '../support/scripted-proxy.js'

const REQUEST = '05 01 00 03 0e 77 77 77 2e 67 6f 6f 67 6c 65 2e 63 6f 6d 01 bb'
const REPLY = '05 00 00 01 00 00 00 00 00 00'
const CREDENTIALS = '01 04 75 73 65 72 06 68 75 6e 74 65 72'

const PROXY_V1 = Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n').toString('hex')
const PROXY_V2 = '0d0a0d0a000d0a515549540a 21 11 000c c0000201 c6336402 dc04 01bb'

function kinds({ messages }: Dissection): string[] {
  return messages.map(({ kind, summary }) => `${kind}: ${summary}`)
}

/** Runs the command; what it prints and its exit code. */
async function run(argv: readonly string[], stdin = ''): Promise<{ code: number; out: string; err: string }> {
  const out: Buffer[] = []
  const err: Buffer[] = []
  const sink = (chunks: Buffer[]): Writable =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        chunks.push(chunk)
        done()
      },
    })
  const code = await decode(argv, { stdin: Readable.from([stdin]), stdout: sink(out), stderr: sink(err), env: {} })
  return { code, out: Buffer.concat(out).toString(), err: Buffer.concat(err).toString() }
}

describe('what another reading takes for a password', () => {
  it.each([
    // No authentication, GSSAPI, username and password; then the credentials, then a request: also UDP ASSOCIATE and data.
    '05 03 00 01 02 01 04 75 73 65 72 08 53 45 43 52 45 54 31 32 05 01 00 03 01 78 00 50',
    // A client that sends credentials nobody asked for: also CONNECT to 4.117.115.101 and data.
    '05 01 00 01 04 75 73 65 72 08 53 45 43 52 45 54 31 32 05 01 00 03 01 78 00 50',
    '05 02 00 01 01 04 75 73 65 72 08 53 45 43 52 45 54 31 32',
  ])('is masked in all of them: %s', async (bytes) => {
    const { out } = await run(bytes.split(' '))
    expect(out.replaceAll(/\s/g, '')).not.toContain('5345435245')
    expect(out).not.toContain('SECRET')
    const shown = await run(['--show-passwords', ...bytes.split(' ')])
    expect(shown.out).toMatch(/SECRET12|53 45 43 52/)
  })
})

describe('hostile input', () => {
  it('a line of 300,000 bytes is read', async () => {
    for (const prefix of ['', '0000: ']) {
      const { code, err } = await run([], `${prefix}${'00'.repeat(300_000)}\n`)
      expect([0, 1]).toContain(code)
      expect(err).not.toContain('RangeError')
    }
  })

  it('asterisks stand for a bounded number of bytes in all', async () => {
    const packet = '00000000: 0001 0203 0405 0607 0809 0a0b 0c0d 0e0f  ...\n*\n00100000: 00  .\n'
    const { code, err } = await run([], packet.repeat(60))
    expect(code).toBe(2)
    expect(err).toContain('the dump goes on at byte')
  })

  it('what is quoted of it cannot steer a terminal', async () => {
    const { code, err } = await run(['\u009b31mzz'])
    expect(code).toBe(2)
    expect(err).toMatch(/^[ -~\n]*$/)
  })
})

describe('dissect', () => {
  it.each([
    [REQUEST, ['request: CONNECT www.google.com:443']],
    [REPLY, ['reply: succeeded, BND 0.0.0.0:0']],
    ['05 01 00', ['greeting: offers no authentication']],
    ['05 02 00 02', ['greeting: offers no authentication, username/password']],
    ['05 00', ['method selection: no authentication']],
    ['05 02', ['method selection: username/password']],
    ['05 ff', ['method selection: no acceptable method']],
    ['01 00', ['credentials status: success']],
    ['01 01', ['credentials status: failure']],
    [CREDENTIALS, ['credentials: user user']],
    ['01 00 00', ['credentials: user (empty)']],
    ['05 05 00 01 00 00 00 00 00 00', ['reply: connection refused, BND 0.0.0.0:0']],
    ['05 01 00 01 00 00 00 00 00 00', ['reply: general failure, BND 0.0.0.0:0']],
    ['05 01 00 01 7f 00 00 01 00 50', ['request: CONNECT 127.0.0.1:80']],
    ['05 03 00 01 00 00 00 00 00 00', ['request: UDP ASSOCIATE 0.0.0.0:0']],
    ['05 f0 00 03 01 61 00 00', ['request: RESOLVE (Tor) a:0']],
    [`05 00 00 04 ${'00'.repeat(15)} 01 00 50`, ['reply: succeeded, BND [::1]:80']],
    ['05 f4 00 01 00 00 00 00 00 00', ['reply: onion service wants client authorization, BND 0.0.0.0:0']],
    [
      `05 02 00 02 ${CREDENTIALS} ${REQUEST} 47 45 54`,
      [
        'greeting: offers no authentication, username/password',
        'credentials: user user',
        'request: CONNECT www.google.com:443',
        'tunnel data: 3 bytes',
      ],
    ],
    [`05 01 00 ${REQUEST}`, ['greeting: offers no authentication', 'request: CONNECT www.google.com:443']],
    [
      `05 02 01 00 ${REPLY} 53 53 48`,
      [
        'method selection: username/password',
        'credentials status: success',
        'reply: succeeded, BND 0.0.0.0:0',
        'tunnel data: 3 bytes',
      ],
    ],
    ['00 00 00 01 08 08 08 08 00 35 ab', ['UDP datagram: to or from 8.8.8.8:53, 1 bytes of data']],
    ['00 00 82 03 01 61 00 35', ['UDP datagram: to or from a:53, 0 bytes of data, fragment 2']],
    ['04 01 00 50 7f 00 00 01 75 00', ['SOCKS4 request: CONNECT 127.0.0.1:80']],
    ['04 02 00 50 00 00 00 01 00 61 2e 62 00', ['SOCKS4 request: BIND a.b:80 (SOCKS4A)']],
    ['00 5a 00 50 7f 00 00 01', ['SOCKS4 reply: granted']],
    ['00 5b 00 00 00 00 00 00', ['SOCKS4 reply: rejected or failed']],
    ['00 5c 00 00 00 00 00 00', ['SOCKS4 reply: rejected: no identd on the client']],
    ['00 5d 00 00 00 00 00 00', ['SOCKS4 reply: rejected: identd names another user']],
    ['04 01 00 50 00 00 00 00 00', ['SOCKS4 request: CONNECT 0.0.0.0:80']],
    ['04 01 00 50 7f 00 00 01 00 53 53 48', ['SOCKS4 request: CONNECT 127.0.0.1:80', 'tunnel data: 3 bytes']],
    ['00 5a 00 00 00 00 00 00 53 53 48', ['SOCKS4 reply: granted', 'tunnel data: 3 bytes']],
    [PROXY_V1, ['PROXY header: version 1, from 192.0.2.1:56324 to 198.51.100.2:443']],
    [PROXY_V2, ['PROXY header: version 2, from 192.0.2.1:56324 to 198.51.100.2:443']],
    [Buffer.from('PROXY UNKNOWN\r\n').toString('hex'), ['PROXY header: version 1, no addresses']],
    ['0d0a0d0a000d0a515549540a 20 11 0002 aabb', ['PROXY header: version 2, the proxy in front speaks for itself']],
    [
      `0d0a0d0a000d0a515549540a 21 21 002c ${'00'.repeat(15)}01 20010db8${'00'.repeat(11)}01 0001 0002 05 0001 aa 02 0001 61`,
      ['PROXY header: version 2, from [::1]:1 to [2001:db8::1]:2'],
    ],
    [`0d0a0d0a000d0a515549540a 21 31 00d8 ${'2f'.repeat(216)}`, ['PROXY header: version 2, no addresses']],
    [
      `${PROXY_V1} 05 01 00 ${REQUEST} 47 45 54`,
      [
        'PROXY header: version 1, from 192.0.2.1:56324 to 198.51.100.2:443',
        'greeting: offers no authentication',
        'request: CONNECT www.google.com:443',
        'tunnel data: 3 bytes',
      ],
    ],
    [
      `${PROXY_V2} 04 01 00 50 7f 00 00 01 75 00`,
      ['PROXY header: version 2, from 192.0.2.1:56324 to 198.51.100.2:443', 'SOCKS4 request: CONNECT 127.0.0.1:80'],
    ],
  ])('%s', (bytes, expected) => {
    const dissection = dissect(hex(bytes))
    expect(kinds(dissection)).toEqual(expected)
    expect(dissection.problem).toBe(undefined)
  })

  it('names each field of a request, at its offset', () => {
    const [message] = dissect(hex(REQUEST)).messages
    expect(
      message?.fields.map(({ offset, length, name, value, meaning }) => [offset, length, name, value, meaning]),
    ).toEqual([
      [0, 1, 'VER', '5', 'SOCKS5'],
      [1, 1, 'CMD', '1', 'CONNECT'],
      [2, 1, 'RSV', '0', ''],
      [3, 1, 'ATYP', '3', 'domain name'],
      [4, 1, 'LEN', '14', '14 bytes of name'],
      [5, 14, 'DST.ADDR', 'www.google.com', ''],
      [19, 2, 'DST.PORT', '443', 'https'],
    ])
  })

  it.each([
    ['47 45 54 20 2f 20', 0, 'HTTP'],
    ['48 54 54 50 2f 31 2e 31', 0, 'HTTP'],
    ['16 03 01 02 00', 0, 'TLS'],
    ['99 00', 0, '0x99'],
    ['', 0, 'no bytes'],
    ['05 01 00 05 aa', 3, 'address type 0x05'],
    ['05 01 00 03 0e 77 77', 7, '12 more for DST.ADDR'],
    ['05 00 00 01 7f 00', 6, '2 more for BND.ADDR'],
    ['05 ff 00', 2, 'nothing after a refusal'],
    ['05 01 00 01', 4, 'DST.ADDR'],
    ['04 01 00 50 7f 00 00 01 75', 9, 'NUL'],
    ['00 00 00 01 08', 5, 'DST.ADDR'],
    ['05', 1, 'more for'],
    ['04 01 00 50 00 00 00 01 75 00 61', 11, 'NUL'],
    ['00 5a 00 50 7f 00', 6, '2 more for DSTIP'],
    [PROXY_V1.slice(0, -4), 43, '2 more for CRLF'],
    [PROXY_V1.slice(0, -2), 44, '1 more for CRLF'],
    ['0d0a0d0a00', 5, '7 more for SIG'],
    [PROXY_V2.slice(0, -5), 26, '2 more for DST.PORT'],
    ['0d0a0d0a000d0a515549540a 21 00 0006 05 0003 aa', 20, '2 more for TLV.VAL'],
    [Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 56324 0443\r\n').toString('hex'), 0, 'PROXY header: a port'],
    [Buffer.from('PROXY TCP4 zz').toString('hex'), 0, 'PROXY header: addresses'],
    [Buffer.from(`PROXY UNKNOWN${' '.repeat(200)}`).toString('hex'), 0, 'PROXY header: the line is longer'],
    ['0d0a0d0a000d0a515549540a 31', 0, 'PROXY header: unknown version'],
    ['0d0a0d0a000d0a515549540a 21 11 000f c0000201 c6336402 dc04 01bb 02 0001', 0, 'PROXY header: a TLV'],
    [`${PROXY_V1} 07 00`, 45, 'expected a greeting (05)'],
    [`${PROXY_V1} ${PROXY_V1}`, 45, 'expected a greeting (05)'],
    [`${PROXY_V2} ${Buffer.from('GET / HTTP/1.1').toString('hex')}`, 28, 'this is HTTP'],
    [`${PROXY_V2} 16 03 01`, 28, 'this is TLS'],
  ])('%s is wrong at byte %s', (bytes, offset, message) => {
    const { problem } = dissect(hex(bytes))
    expect(problem?.offset).toBe(offset)
    expect(problem?.message).toContain(message)
  })

  it('mentions the other reading, and takes it when told who speaks', () => {
    const bytes = hex('05 03 00 01 00 00 00 00 00 00')
    expect(dissect(bytes).alternatives).toEqual(['reply (network unreachable, BND 0.0.0.0:0)'])
    expect(kinds(dissect(bytes, { from: 'server' }))).toEqual(['reply: network unreachable, BND 0.0.0.0:0'])
    expect(kinds(dissect(hex('05 00'), { from: 'client' }))).toEqual(['greeting: offers nothing'])
  })

  it('masks a password, whole or cut short, unless told otherwise', () => {
    const text = JSON.stringify(dissect(hex(`${CREDENTIALS} ${REQUEST}`)))
    expect(text).not.toContain('hunter')
    expect(text).not.toContain('68 75')
    const cut = JSON.stringify(dissect(hex('01 04 75 73 65 72 20 68 75 6e 74')))
    expect(cut).not.toContain('hunt')
    expect(cut).not.toContain('68 75')
    expect(JSON.stringify(dissect(hex(CREDENTIALS), { showSecrets: true }))).toContain('hunter')
  })

  it('a PROXY header is of the client, and no answer stands behind it', () => {
    expect(dissect(hex(PROXY_V1), { from: 'server' }).problem?.message).toContain('no SOCKS message of a server')
    expect(kinds(dissect(hex(PROXY_V1), { from: 'client' }))).toHaveLength(1)
    expect(dissect(hex(`${PROXY_V1} 05 01 00`)).alternatives.join()).not.toContain('reply')
  })

  it('a password behind a PROXY header is masked too, a user id is not', () => {
    const { messages } = dissect(hex(`${PROXY_V2} 05 01 02 ${CREDENTIALS} ${REQUEST}`))
    expect(messages.map(({ kind }) => kind)).toEqual(['PROXY header', 'greeting', 'credentials', 'request'])
    const text = JSON.stringify(messages)
    expect(text).not.toContain('hunter')
    expect(text).not.toContain('68 75')
    expect(JSON.stringify(dissect(hex('04 01 00 50 7f 00 00 01 75 73 65 72 00')))).toContain('"user"')
  })

  it('a password behind a PROXY line that lacks its end is not shown as part of the line', async () => {
    for (const line of ['PROXY UNKNOWN', 'PROXY UNKNOWN ', 'PROXY TCP4 192.0.2.1', 'PROXY UNKNOWN 1.2.3.4 ']) {
      for (const end of ['', '0d0a', '0d']) {
        const { out } = await run([`${Buffer.from(line).toString('hex')} 05 01 02 ${CREDENTIALS} ${end}`])
        expect(out).toContain('PROXY header')
        expect(out).not.toContain('hunter')
        expect(out).not.toContain('68 75 6e')
      }
    }
  })

  it('a few empty lines are no PROXY header', () => {
    for (const bytes of ['0d', '0d 0a', '0d 0a 0d 0a', '0d 0a 0d 0a 47']) {
      expect(dissect(hex(bytes))).toMatchObject({ messages: [], problem: { message: '0x0d begins no SOCKS message' } })
    }
  })

  it('escapes what a terminal would act on', () => {
    const { messages } = dissect(hex('05 01 00 03 05 1b 5b 32 4a 5c 00 50'))
    expect(messages[0]?.summary).toBe('CONNECT \\x1b[2J\\x5c:80')
    const line = Buffer.from('PROXY UNKNOWN \x1b[2J\x9b\r\n', 'latin1')
    expect(dissect(line, { showSecrets: true }).messages[0]?.fields[1]?.value).toBe('\\x1b[2J\\x9b')
  })

  it('never throws, and accounts for bytes in order, on any bytes', () => {
    const starts = fc.constantFrom(
      [],
      [5],
      [5, 1],
      [5, 1, 0, 3],
      [5, 0, 0, 1],
      [1, 2],
      [4, 1],
      [0, 0, 0],
      [0, 0x5a],
      [5, 2, 0, 2, 1],
      [4, 1, 0, 80, 0, 0, 0, 1],
      [...Buffer.from('PROXY ')],
      [...Buffer.from('PROXY UNKNOWN\r\n')],
      [...hex(PROXY_V1)],
      [...hex(PROXY_V2)],
      [...hex(PROXY_V2).subarray(0, 12)],
      [...hex('0d0a0d0a000d0a515549540a 21 00 0009')],
      [...hex('0d0a0d0a000d0a515549540a 20 00 0009')],
    )
    fc.assert(
      fc.property(starts, fc.uint8Array({ maxLength: 300 }), (start, rest) => {
        const bytes = Uint8Array.of(...start, ...rest)
        const { messages, problem } = dissect(bytes)
        let position = 0
        for (const { fields, offset, length } of messages) {
          expect(offset).toBe(position)
          for (const field of fields) {
            expect(field.offset).toBe(position)
            position += field.length
          }
          expect(position).toBe(offset + length)
        }
        // Every byte is explained, or the problem says where that ends.
        if (problem === undefined) expect(position).toBe(bytes.length)
        else expect(problem.offset).toBeLessThanOrEqual(bytes.length)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('tubesock decode', () => {
  it.each([
    [[REQUEST]],
    [REQUEST.split(' ')],
    [[REQUEST.replaceAll(' ', '')]],
    [[REQUEST.replaceAll(' ', ':')]],
    [[REQUEST.replace(/(\S\S)/g, '0x$1,')]],
    [[`"${REQUEST.replaceAll(' ', '').replace(/(..)/g, '\\x$1')}"`]],
    [['0x5', '0x1', ...REQUEST.split(' ').slice(2)]],
    [[REQUEST.toUpperCase()]],
  ])('reads %j', async (argv) => {
    const { code, out, err } = await run(argv)
    expect([code, err]).toEqual([0, ''])
    expect(out).toContain('request: CONNECT www.google.com:443 (21 bytes)')
    expect(out).toContain('  0013  01 bb                    DST.PORT  443 (https)\n')
  })

  it('reads a PROXY header, field by field', async () => {
    const { code, out } = await run([`${PROXY_V2.replace('000c', '0010')} 05 0001 aa 05 01 00`])
    expect(code).toBe(0)
    expect(out).toContain('PROXY header: version 2, from 192.0.2.1:56324 to 198.51.100.2:443 (32 bytes)\n')
    expect(out).toContain('  000c  21                       VER_CMD   33 (version 2, PROXY)\n')
    expect(out).toContain('  000d  11                       FAM       17 (TCP over IPv4)\n')
    expect(out).toContain('  0010  c0 00 02 01              SRC.ADDR  192.0.2.1\n')
    expect(out).toContain('  001c  05                       TLV.TYPE  5 (UNIQUE_ID)\n')
    expect(out).toContain('greeting: offers no authentication (3 bytes)\n')
  })

  it('reads plain hexadecimal from stdin, on several lines', async () => {
    const { code, out } = await run([], '05 01 00\n05 01 00 01 7f 00\r\n00 01 00 50\n')
    expect(code).toBe(0)
    expect(out).toContain('greeting: offers no authentication (3 bytes)')
    expect(out).toContain('request: CONNECT 127.0.0.1:80 (10 bytes)')
  })

  it.each([
    ['xxd', []],
    ['xxd', ['-g1']],
    ['hexdump', ['-C']],
  ])('reads a dump by %s %j, repeated lines included', async (command, args) => {
    const bytes = Buffer.concat([hex(REQUEST), Buffer.alloc(200, 'A')])
    const dump = execFileSync(command, args, { input: bytes }).toString()
    const { code, out } = await run([], dump)
    expect(code).toBe(0)
    expect(out).toContain('request: CONNECT www.google.com:443 (21 bytes)')
    expect(out).toContain('tunnel data: 200 bytes')
  })

  it('reads a dump by Wireshark', async () => {
    const dump =
      '0000   05 01 00 03 0e 77 77 77 2e 67 6f 6f 67 6c 65 2e   .....www.google.\n0010   63 6f 6d 01 bb   com..\n'
    const { code, out } = await run([], dump)
    expect(code).toBe(0)
    expect(out).toContain('request: CONNECT www.google.com:443 (21 bytes)')
  })

  it('takes IP and TCP headers off a dump by tcpdump -X, and joins each direction', async () => {
    const { code, out } = await run([], TCPDUMP)
    expect(code).toBe(0)
    expect(out).toContain('127.0.0.1:50000 > 127.0.0.1:1080 (TCP)\ngreeting: offers no authentication (3 bytes)\n')
    expect(out).toContain('127.0.0.1:1080 > 127.0.0.1:50000 (TCP)\nmethod selection: no authentication (2 bytes)')
    expect(out).toContain('request: CONNECT www.google.com:443 (21 bytes)\n  0003  05')
    expect(out).toContain('reply: succeeded, BND 0.0.0.0:0 (10 bytes)\n  0002  05')
    // Of the packet that was sent twice, once.
    expect(out.match(/greeting:/g)).toHaveLength(1)
  })

  it('reads UDP in IPv6, and Ethernet headers of tcpdump -XX', async () => {
    const udp = `6000 0000 0013 1140 ${'0000 '.repeat(7)}0001 ${'0000 '.repeat(7)}0001 c350 0438 0013 0000 0000 0001 0808 0808 0035 ab`
    for (const packet of [udp, `0000 0000 0000 0000 0000 0000 86dd ${udp}`]) {
      const { code, out } = await run([], tcpdump(packet))
      expect(code).toBe(0)
      expect(out).toContain('[::1]:50000 > [::1]:1080 (UDP, packet 1)\nUDP datagram: to or from 8.8.8.8:53')
    }
  })

  it.each([
    [['05 0g'], 'line 1, column 4: "0g" is not hexadecimal'],
    [['05 010'], 'line 1, column 4: "010" is an odd number of hexadecimal digits'],
    [['\x1b[2J'], 'not hexadecimal'],
    [[], 'no bytes to decode'],
    [['--from', 'mars', '05'], '--from takes client or server'],
    [['--frm', '05'], "Unknown option '--frm'"],
  ])('%j: one clear line, exit code 2', async (argv, message) => {
    const { code, out, err } = await run(argv)
    expect([code, out]).toEqual([2, ''])
    expect(err).toContain(message)
    expect(err).toMatch(/^tubesock decode: [ -~]*\n$/)
  })

  it('a dump with a gap is refused by its line', async () => {
    const { code, err } = await run([], '00000000: 0501 0003  ....\n00000010: 0e77  .w\n')
    expect([code, err]).toEqual([2, 'tubesock decode: line 2: the dump goes on at byte 16, not at byte 4\n'])
  })

  it('bytes that are not SOCKS: says so, exit code 1', async () => {
    const { code, out } = await run([Buffer.from('GET / HTTP/1.1\r\n').toString('hex')])
    expect(code).toBe(1)
    expect(out).toContain('! this is HTTP, not SOCKS')
  })

  it('masks passwords, also in the column of bytes', async () => {
    const hidden = await run([CREDENTIALS])
    expect(hidden.out).not.toContain('68 75 6e')
    expect(hidden.out).not.toContain('hunter')
    expect((await run(['--show-passwords', CREDENTIALS])).out).toContain('hunter')
  })

  it('too much input is refused before it fills the memory', async () => {
    const stdin = Readable.from(Array.from({ length: 18 }, () => Buffer.alloc(1 << 20, '00')))
    const err = new PassThrough()
    const done = decode([], { stdin, stdout: new PassThrough(), stderr: err, env: {} })
    expect(await done).toBe(2)
    expect(String(err.read())).toContain('16 MiB')
  })
})

/** Hexadecimal words as tcpdump -X prints them. */
function tcpdump(packet: string): string {
  const digits = packet.replace(/\s/g, '')
  const lines = digits.match(/.{1,32}/g) ?? []
  const body = lines.map((line, index) => {
    const words = (line.match(/.{1,4}/g) ?? []).join(' ')
    return `\t0x${(index * 16).toString(16).padStart(4, '0')}:  ${words.padEnd(39)}  ${'.'.repeat(line.length / 2)}`
  })
  return `12:00:00.000000 IP somewhere > elsewhere: Flags [P.]\n${body.join('\n')}\n`
}

/** An IPv4 packet on loopback with a TCP segment. */
function tcpPacket(fromClient: boolean, sequence: number, payload: string, flags = '18'): string {
  const ports = fromClient ? 'c3500438' : '0438c350'
  const data = payload.replace(/\s/g, '')
  const length = (40 + data.length / 2).toString(16).padStart(4, '0')
  const numbers = sequence.toString(16).padStart(8, '0')
  return tcpdump(`4500${length}00004000400600007f0000017f000001${ports}${numbers}0000000050${flags}ffff00000000${data}`)
}

const TCPDUMP = [
  tcpPacket(true, 0, '', '02'),
  tcpPacket(false, 0, '', '12'),
  tcpPacket(true, 1, '05 01 00'),
  tcpPacket(true, 1, '05 01 00'),
  tcpPacket(false, 1, '05 00'),
  tcpPacket(true, 4, REQUEST),
  tcpPacket(false, 3, REPLY),
].join('')
