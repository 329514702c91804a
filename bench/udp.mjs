// @ts-check
// What the UDP relay costs: `npm run build && node bench/udp.mjs --help`.
import { fork } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createSocksServer, SocksClient } from 'tubesock'
import { decodeUdpDatagram, encodeUdpDatagram } from 'tubesock/codec'
import { circumstances, numberOf, printTable, progress, saveJson, writtenCircumstances } from './lib/report.mjs'
import { ratios, summary, written, writtenSummary } from './lib/statistics.mjs'

const HELP = `usage: node bench/udp.mjs [options]

Datagrams per second of CPU time of the relaying process: an association of our server against bare forwarders of node:dgram, which do
no more than has to be done. All in one run, a fresh process for each, in an order that turns round with every round; what comes back is
compared byte for byte. Compare the ratios, not the figures: those are of this machine and this minute. Then the decoder of the header alone.

  --rounds N        [7; --quick: 2]
  --seconds N       of each measurement, after the warm-up  [3; --quick: 0.5]
  --size BYTES      of a payload, 8 to 60000  [512]
  --window N        datagrams under way  [32]
  --quick           a look, no verdict
  --json FILE       the results`

const HOST = '127.0.0.1'
const SERVER = 'tubesock'
const SUBJECTS = /** @type {const} */ (['tubesock', 'bare', 'bare, own lookup'])

/**
 * @typedef {(typeof SUBJECTS)[number]} Subject
 * @typedef {{ rounds: number, seconds: number, warmUpSeconds: number, size: number, window: number }} Plan
 * @typedef {import('./lib/statistics.mjs').Summary} Summary
 */

async function main() {
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', short: 'h' },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      size: { type: 'string' },
      window: { type: 'string' },
    },
  })
  if (values.help) return console.log(HELP)
  const { quick } = values
  const plan = {
    rounds: numberOf(values.rounds, quick ? 2 : 7, '--rounds', { min: 1, max: 1_000 }),
    seconds: numberOf(values.seconds, quick ? 0.5 : 3, '--seconds', { min: 0.05, max: 3_600 }),
    warmUpSeconds: quick ? 0.3 : 1,
    size: numberOf(values.size, 512, '--size', { min: 8, max: 60_000 }),
    window: numberOf(values.window, 32, '--window', { min: 1, max: 10_000 }),
  }
  const told = circumstances()
  progress(writtenCircumstances(told))
  const relayed = await compareRelays(plan)
  const decode = compareDecoders(quick ? 5 : 25, 200_000)
  const compared = Object.fromEntries(
    SUBJECTS.filter((subject) => subject !== SERVER).map((subject) => [
      `${SERVER} / ${subject}`,
      ratios(relayed[SERVER], relayed[subject]),
    ]),
  )
  const datagrams = Object.fromEntries(SUBJECTS.map((subject) => [subject, summary(relayed[subject])]))
  const result = { plan, datagramsPerCpuSecond: datagrams, ratios: compared, decodeNanoseconds: decode }
  print(result)
  if (values.json) saveJson(values.json, { ...told, ...result, rounds: relayed })
}

/** @param {Plan} plan @returns {Promise<Record<Subject, number[]>>} */
async function compareRelays(plan) {
  /** @type {Record<Subject, number[]>} */
  const figures = { tubesock: [], bare: [], 'bare, own lookup': [] }
  const target = createSocket('udp4')
  target.on('message', (data, { port, address }) => target.send(data, port, address))
  target.bind(0, HOST)
  await once(target, 'listening')
  for (let round = 0; round < plan.rounds; round++) {
    const order = round % 2 === 0 ? SUBJECTS : [...SUBJECTS].reverse()
    for (const subject of order) {
      const figure = await measure(subject, target.address().port, plan)
      figures[subject].push(figure)
      progress(`round ${round + 1} of ${plan.rounds}, ${subject}: ${written(figure)} datagrams per CPU-second`)
    }
  }
  target.close()
  return figures
}

/**
 * Datagrams, there and back, that one relay passes in a second of its CPU time.
 * @param {Subject} subject @param {number} targetPort @param {Plan} plan
 */
async function measure(subject, targetPort, { seconds, warmUpSeconds, size, window }) {
  const child = fork(fileURLToPath(import.meta.url), ['--serve', subject, String(targetPort)])
  const [{ port }] = await once(child, 'message')
  const { relayPort, close } = subject === SERVER ? await associate(port) : { relayPort: port, close: () => {} }
  const address = /** @type {const} */ ({ type: 'ipv4', host: HOST, port: targetPort })
  /** @param {Uint8Array} payload */
  const wrapped = (payload) =>
    subject === SERVER ? encodeUdpDatagram({ fragment: 0, address, payload }) : Uint8Array.from(payload)
  const load = await Load.start({ relayPort, window, size, wrapped })
  await load.run(warmUpSeconds)
  const [before, sentBefore] = [await cpuOf(child), load.completed]
  await load.run(seconds)
  const [after, sentAfter] = [await cpuOf(child), load.completed]
  load.stop()
  close()
  child.disconnect()
  await once(child, 'exit')
  if (load.lost > 0) console.error(`${subject}: ${load.lost} datagrams lost`)
  return (2 * (sentAfter - sentBefore)) / (after - before)
}

/** An association only to hold the relay open: what sends to it is a bare socket. @param {number} port */
async function associate(port) {
  let relayPort = 0
  const client = new SocksClient({
    proxy: `socks5h://${HOST}:${port}`,
    onHop: ({ bound }) => {
      relayPort = bound.port
    },
  })
  const association = await client.udpAssociate()
  return { relayPort, close: () => association.close() }
}

/** A client with a number of datagrams under way, each of which must come back as it was sent. */
class Load {
  /**
   * The address of the target is that of the answer, so that answers are equal to questions in either protocol.
   * @param {{ relayPort: number, window: number, size: number, wrapped: (payload: Uint8Array) => Uint8Array }} options
   */
  static async start({ relayPort, window, size, wrapped }) {
    const socket = createSocket('udp4')
    socket.bind(0, HOST)
    await once(socket, 'listening')
    socket.connect(relayPort, HOST)
    await once(socket, 'connect')
    const slots = Array.from({ length: window }, (_, index) => {
      const payload = Buffer.alloc(size)
      for (let at = 8; at < size; at++) payload[at] = (at * 31 + index) & 0xff
      payload.writeUInt32BE(index, 0)
      const data = Buffer.from(wrapped(payload))
      return { data, payload: data.subarray(data.length - size), sentAt: 0, sequence: 0 }
    })
    return new Load(socket, slots)
  }

  /** @param {import('node:dgram').Socket} socket @param {{ data: Buffer, payload: Buffer, sentAt: number, sequence: number }[]} slots */
  constructor(socket, slots) {
    this.socket = socket
    this.slots = slots
    this.completed = 0
    this.lost = 0
    const size = slots[0]?.payload.length ?? 0
    socket.on('message', (data) => {
      const slot = slots[data.readUInt32BE(data.length - size)]
      // The answer to one that was given up.
      if (slot === undefined || data.readUInt32BE(data.length - size + 4) !== slot.sequence) return
      if (!data.equals(slot.data)) throw new Error('an answer that is not what was sent')
      this.completed++
      this.next(slot)
    })
    for (const slot of slots) this.next(slot)
    this.timer = setInterval(() => {
      for (const slot of slots) {
        if (performance.now() - slot.sentAt < 500) continue
        this.lost++
        this.next(slot)
      }
    }, 100)
  }

  /** @param {(typeof this.slots)[number]} slot */
  next(slot) {
    slot.sequence = (slot.sequence + 1) >>> 0
    slot.payload.writeUInt32BE(slot.sequence, 4)
    slot.sentAt = performance.now()
    this.socket.send(slot.data)
  }

  /** @param {number} seconds */
  async run(seconds) {
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  }

  stop() {
    clearInterval(this.timer)
    this.socket.close()
  }
}

/** Seconds of CPU time that a relay has used. @param {import('node:child_process').ChildProcess} child */
async function cpuOf(child) {
  child.send('cpu')
  const [{ seconds }] = await once(child, 'message')
  return seconds
}

/** The process that is measured. @param {string} subject @param {number} targetPort */
async function serve(subject, targetPort) {
  const tell = /** @type {(message: object) => void} */ (process.send?.bind(process))
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    tell({ seconds: (user + system) / 1e6 })
  })
  process.on('disconnect', () => process.exit())
  if (subject === SERVER) {
    const { port } = await createSocksServer({ commands: ['udp-associate'] }).listen(0)
    tell({ port })
    return
  }
  // Node asks the resolver about literals, too, unless it is given something to ask.
  const lookup =
    subject === 'bare'
      ? undefined
      : /** @type {any} */ (
          /** @param {string} host @param {unknown} _options @param {(error: null, address: string, family: number) => void} callback */
          (host, _options, callback) => callback(null, host, 4)
        )
  const [near, far] = [createSocket({ type: 'udp4', lookup }), createSocket({ type: 'udp4', lookup })]
  let client = { port: 0, address: HOST }
  near.on('message', (data, from) => {
    client = from
    far.send(data, targetPort, HOST)
  })
  far.on('message', (data) => near.send(data, client.port, client.address))
  // With a look-up that answers at once, they listen before `bind` returns.
  const listening = Promise.all([once(near, 'listening'), once(far, 'listening')])
  near.bind(0, HOST)
  far.bind(0)
  await listening
  tell({ port: near.address().port })
}

/**
 * Nanoseconds for `decodeUdpDatagram`, in rounds of so many calls. @param {number} rounds @param {number} calls
 * @returns {Record<string, Summary>}
 */
function compareDecoders(rounds, calls) {
  const kinds = {
    // Several of each, lest the decoder sees but one datagram for ever.
    IPv4: datagrams((index) => ({ type: 'ipv4', host: `192.0.2.${index}`, port: 1_000 + index })),
    IPv6: datagrams((index) => ({ type: 'ipv6', host: `2001:db8::${index}`, port: 1_000 + index })),
    name: datagrams((index) => ({ type: 'domain', host: `host-${index}.example.com`, port: 1_000 + index })),
  }
  /** @type {Record<string, number[]>} */
  const figures = { IPv4: [], IPv6: [], name: [] }
  for (let round = -2; round < rounds; round++) {
    for (const [kind, list] of Object.entries(kinds)) {
      const start = process.hrtime.bigint()
      let sum = 0
      for (let call = 0; call < calls; call++) {
        const decoded = decodeUdpDatagram(/** @type {Buffer} */ (list[call & 63]))
        sum += decoded?.value.address.port ?? 0
      }
      const nanoseconds = Number(process.hrtime.bigint() - start) / calls
      if (sum < calls * 1_000) throw new Error('nothing was decoded')
      // The first two are for the compiler.
      if (round >= 0) figures[kind]?.push(nanoseconds)
    }
  }
  return Object.fromEntries(Object.entries(figures).map(([kind, list]) => [kind, summary(list)]))
}

/** @param {(index: number) => import('tubesock/codec').Address} addressOf @returns {Buffer[]} */
function datagrams(addressOf) {
  return Array.from({ length: 64 }, (_, index) => {
    return Buffer.from(encodeUdpDatagram({ fragment: 0, address: addressOf(index + 1), payload: new Uint8Array(512) }))
  })
}

/** @param {{ plan: Plan, datagramsPerCpuSecond: Record<string, Summary>, ratios: Record<string, Summary>, decodeNanoseconds: Record<string, Summary> }} result */
function print({ plan, datagramsPerCpuSecond, ratios, decodeNanoseconds }) {
  const { rounds, seconds, size, window } = plan
  console.log(`${rounds} rounds of ${seconds} s, ${size} bytes, ${window} under way: median (least to most)`)
  for (const [title, figures] of /** @type {const} */ ([
    ['datagrams per CPU-second', datagramsPerCpuSecond],
    ['ratio, round by round: more than 1 is better', ratios],
    ['decodeUdpDatagram, ns', decodeNanoseconds],
  ])) {
    const rows = Object.entries(figures).map(([name, figure]) => [name, writtenSummary(figure)])
    printTable(title, ['', 'median (least to most)'], rows)
  }
}

// Last: classes are not there before.
if (process.argv[2] === '--serve') await serve(process.argv[3] ?? '', Number(process.argv[4]))
else await main()
