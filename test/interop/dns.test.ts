// DNS is what most datagrams through a proxy are: many small questions, each with an id that its answer must bear.
import { writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { SocksClient } from '../../src/client/index.js'
import { CLI, Program, plainEnvironment, run } from '../support/cli.js'
import { requireProgram } from '../support/programs.js'
import { cleanup, startServer } from '../support/servers.js'
import { Daemon, freePort, shared, temporaryDirectory, testDirectory } from './peers.js'
import { socksifyUdp } from './socksify.js'

const QUERIES = 1_000
// What the resolver's socket holds at a time is a few hundred datagrams, and the system's to say.
const AT_A_TIME = 32

const dnsmasq = requireProgram('dnsmasq', 'dnsmasq-base')
const dns = shared([dnsmasq], startDnsmasq)

describe('DNS through UDP ASSOCIATE', () => {
  it('S115 C118 1,000 queries over one association: each is answered, by its id, from where it was sent to', async () => {
    const fixture = await startServer({ commands: ['udp-associate'] })
    const association = await SocksClient.udpAssociate({ proxy: `socks5h://127.0.0.1:${fixture.port}` })
    cleanup(() => association.close())
    const servers = ['127.0.0.1', '::1'] as const
    // Neighbours in time are far apart as ids.
    const idOf = (index: number): number => (index * 40_503 + 7) & 0xffff
    const pending = new Map(Array.from({ length: QUERIES }, (_, index) => [idOf(index), index]))
    expect(pending.size).toBe(QUERIES)
    let [asked, bytesUp, bytesDown] = [0, 0, 0]
    const ask = (): void => {
      if (asked === QUERIES) return
      const query = question(idOf(asked), nameOf(asked))
      bytesUp += query.length
      association.send(query, dns().port, servers[asked % 2] ?? '')
      asked++
    }
    const answers = association[Symbol.asyncIterator]()
    for (let count = 0; count < AT_A_TIME; count++) ask()
    while (pending.size > 0) {
      const { value: message } = await answers.next()
      if (message === undefined) throw new Error('the association has ended')
      const { data, address, port, size } = message
      const id = data.readUInt16BE(0)
      const index = pending.get(id)
      if (index === undefined) throw new Error(`an answer with the id ${id}, which was not asked or was answered`)
      pending.delete(id)
      expect(answerOf(data)).toEqual({ name: nameOf(index), address: addressOf(index) })
      expect({ address, port, size }).toEqual({ address: servers[index % 2], port: dns().port, size: data.length })
      bytesDown += size
      ask()
    }
    const { dropped, ...moved } = association.stats()
    expect(moved).toEqual({
      datagramsSent: QUERIES,
      bytesSent: bytesUp,
      datagramsReceived: QUERIES,
      bytesReceived: bytesDown,
    })
    expect(Object.values(dropped).reduce((sum, count) => sum + count)).toBe(0)
    const closing = fixture.closed()
    association.close()
    expect(await closing).toMatchObject({ reason: 'end', bytesUp, bytesDown })
    expect(fixture.server.stats()).toMatchObject({ connections: 0, associations: 0, established: 1 })
  })

  describe('by tubesock forward --udp', () => {
    const dig = requireProgram('dig', 'bind9-dnsutils')

    it('dig, which asks each of 1,000 questions from a port of its own, gets every answer', async () => {
      const fixture = await startServer({ commands: ['udp-associate'] })
      const port = await startForward(fixture.port, dns().port)
      const batch = join(testDirectory(), 'names')
      writeFileSync(batch, Array.from({ length: QUERIES }, (_, index) => `${nameOf(index)} A\n`).join(''))
      const args = ['@127.0.0.1', '-p', String(port), '+tries=1', '+time=5', '+short', '-f', batch]
      const { code, stdout, stderr } = await run(dig, args)
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      const answers = stdout.toString().trim().split('\n')
      expect(answers).toEqual(Array.from({ length: QUERIES }, (_, index) => addressOf(index)))
    })

    it('dig +dnssec: an answer of many records, in one datagram', async () => {
      const fixture = await startServer({ commands: ['udp-associate'] })
      const port = await startForward(fixture.port, dns().port)
      const args = ['@127.0.0.1', '-p', String(port), '+tries=1', '+bufsize=4096', '+ignore', 'many.test', 'A']
      const { code, stdout } = await run(dig, args)
      expect(code).toBe(0)
      expect(stdout.toString()).toMatch(/ANSWER: 100,/)
      expect(stdout.toString()).not.toMatch(/flags:[^;]* tc/)
    })
  })

  describe('of a program that knows nothing of it', () => {
    const drill = requireProgram('drill', 'ldnsutils')
    const socksify = requireProgram('socksify', 'dante-client')

    it('drill under socksify, through our server', async () => {
      const fixture = await startServer({ commands: ['udp-associate'] })
      const env = socksifyUdp(fixture.port)
      for (const index of [1, 299, 999]) {
        const args = [drill, '-p', String(dns().port), nameOf(index), '@127.0.0.1', 'A']
        const { code, stdout } = await run(socksify, args, { env })
        expect(code).toBe(0)
        expect(stdout.toString()).toContain(`IN\tA\t${addressOf(index)}\n`)
      }
      const { established, bytesUp, bytesDown } = fixture.server.stats()
      expect([established, bytesUp > 0, bytesDown > bytesUp]).toEqual([3, true, true])
    })
  })
})

function nameOf(index: number): string {
  return `host-${index}.test`
}

function addressOf(index: number): string {
  return `10.53.${index >> 8}.${index & 0xff}`
}

/** A resolver on 127.0.0.1 and ::1 that knows these names, and asks nobody. */
async function startDnsmasq(): Promise<{ readonly port: number; stop(): Promise<void> }> {
  const port = await freePort()
  const directory = temporaryDirectory()
  const file = join(directory, 'dnsmasq.conf')
  const config = [
    `port=${port}`,
    'listen-address=127.0.0.1,::1',
    'bind-interfaces',
    'no-resolv',
    'no-hosts',
    'edns-packet-max=4096',
    `user=${userInfo().username}`,
    ...Array.from({ length: QUERIES }, (_, index) => `host-record=${nameOf(index)},${addressOf(index)}`),
    ...Array.from({ length: 100 }, (_, index) => `host-record=many.test,10.54.0.${index}`),
  ]
  writeFileSync(file, `${config.join('\n')}\n`)
  // In the foreground, with its log on stderr, and no file that says who it is.
  const daemon = new Daemon(dnsmasq, ['--no-daemon', `--conf-file=${file}`], directory)
  await daemon.says(/started/)
  return { port, stop: () => daemon.stop() }
}

/** `tubesock forward --udp` to the resolver; resolves to its port. */
async function startForward(proxyPort: number, targetPort: number): Promise<number> {
  const where = ['--proxy', `socks5h://127.0.0.1:${proxyPort}`, '--listen', '127.0.0.1:0', `127.0.0.1:${targetPort}`]
  const program = new Program(process.execPath, [CLI, 'forward', '--udp', ...where], { env: plainEnvironment() })
  return Number((await program.output(/^forwarding 127\.0\.0\.1:(\d+) -> /))[1])
}

/** A query for the A records of a name, by hand. RFC 1035 section 4. */
function question(id: number, name: string): Buffer {
  const head = Buffer.from([id >> 8, id & 0xff, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0])
  const labels = name.split('.').map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`))
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, 1, 0, 1])])
}

/** The question and the one address of an answer. Throws where it is anything else. */
function answerOf(data: Buffer): { name: string; address: string } {
  const [flags, questions, records] = [data.readUInt16BE(2), data.readUInt16BE(4), data.readUInt16BE(6)]
  // A response, not truncated, without an error.
  if ((flags & 0x820f) !== 0x8000 || questions !== 1 || records !== 1) throw new Error(data.toString('hex'))
  const labels: string[] = []
  let at = 12
  for (let length = data[at] ?? 0; length > 0; length = data[at] ?? 0) {
    labels.push(data.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  // QTYPE and QCLASS, then a pointer to the name, TYPE, CLASS, TTL and RDLENGTH.
  const record = data.subarray(at + 5)
  if (record.toString('hex', 0, 6) !== 'c00c00010001' || record.readUInt16BE(10) !== 4) {
    throw new Error(data.toString('hex'))
  }
  return { name: labels.join('.'), address: record.subarray(12, 16).join('.') }
}
