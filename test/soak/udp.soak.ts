// UDP ASSOCIATE of our client through our server, in any volume: associations opened, used and closed, and garbage from every
// side. Runs by itself (`npm run soak`), and a slice of it among the tests. Nothing leaves loopback: the policy sees to that.

import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import { SocksClient, type UdpAssociation } from '../../src/client/index.js'
import { encodeUdpDatagram } from '../../src/codec/index.js'
import { type Authorize, createSocksServer, type ServerOptions, type SocksServer } from '../../src/server/index.js'
import { openUdpAssociation } from '../../src/udp/index.js'
import { Peer } from '../udp/peer.js'
import { bare, Dice, descriptors, headed, settledHeap, untilEqual, works } from './datagrams.js'

interface SoakOptions {
  readonly runs: number
  readonly seed: number
  /** Told what there is to say at the end. Default: `console.log`. */
  readonly tell?: (line: string) => void
}

interface Level {
  readonly descriptors: number
  readonly heap: number
}

// What a process settles at is not known after the first associations: code is compiled, tables have grown.
const WARM_UP = 2_000
const AT_A_TIME = 50
// Counters, a histogram of the garbage collector: a leak of 1 KiB in each of 10,000 associations is more.
const HEAP_TOLERANCE = 4_000_000

let start: Level | undefined

/**
 * `runs` associations opened, used and closed in every way there is, fifty at a time. Throws when descriptors or heap do not
 * come back to where they were at the start of the process's first soak.
 */
export async function soakUdpAssociations({ runs, seed, tell = console.log }: SoakOptions): Promise<void> {
  const dice = new Dice(seed)
  const peers = [await Peer.echo(), await Peer.echo('::1')] as const
  const server = createSocksServer({ commands: ['udp-associate'] })
  const { port } = await server.listen(0)
  const site: Site = { server, port, peers, before: descriptors() }
  if (start === undefined) {
    await associations(site, dice, Math.min(WARM_UP, 4 * runs))
    start = { descriptors: site.before, heap: await settledHeap() }
  }
  await associations(site, dice, runs)
  const heap = await settledHeap()
  const figures = `descriptors ${descriptors()} (${start.descriptors} at the start), heap ${mega(heap)} (${mega(start.heap)})`
  tell(`associations: ${runs} opened and closed, ${figures}`)
  if (heap > start.heap + HEAP_TOLERANCE) throw new Error(`the heap has grown: ${figures}`)
  await server.close({ graceMs: 0 })
  for (const peer of peers) peer.close()
}

interface Site {
  readonly server: SocksServer
  readonly port: number
  readonly peers: readonly [Peer, Peer]
  readonly before: number
}

async function associations({ server, port, peers, before }: Site, dice: Dice, count: number): Promise<void> {
  for (let done = 0; done < count; done += AT_A_TIME) {
    await Promise.all(
      Array.from({ length: Math.min(count - done, AT_A_TIME) }, () => oneAssociation(port, peers, dice)),
    )
    await untilEqual(() => server.stats().associations, 0)
    await untilEqual(descriptors, before)
    for (const peer of peers) while (peer.pending > 0) await peer.next()
  }
}

async function oneAssociation(port: number, peers: readonly [Peer, Peer], dice: Dice): Promise<void> {
  const controller = new AbortController()
  const association = await SocksClient.udpAssociate({
    proxy: `socks5h://127.0.0.1:${port}`,
    signal: controller.signal,
    reassemble: dice.of(true, false),
  })
  const closed = new Promise<void>((resolve) => association.once('close', () => resolve()))
  const targets = dice.of<readonly Peer[]>([peers[0]], [peers[1]], peers, [])
  for (const target of targets) await answered(association, target, dice.of(0, 1, 512, 1_472))
  switch (dice.roll(3)) {
    case 0:
      association.close()
      break
    case 1:
      controller.abort()
      break
    default:
      // In the middle of everything.
      association.send('unheard', 9, '127.0.0.1')
      await association[Symbol.asyncDispose]()
  }
  await closed
}

async function answered(association: UdpAssociation, target: Peer, size: number): Promise<void> {
  // On loopback, with room in every buffer, nothing is lost.
  const answer = once(association, 'message', { signal: AbortSignal.timeout(10_000) })
  association.send(Buffer.alloc(size, 7), target.port, target.host)
  const [data] = await answer
  if (data.length !== size) throw new Error(`${data.length} bytes came back of ${size}`)
}

/**
 * `runs` datagrams of garbage, a new association for every thousand: half from clients (and from strangers) to the relay, a
 * quarter from targets (and from strangers) to its way out, a quarter from a relay (and from strangers) to a client.
 * Throws when an association stops working, or leaves a descriptor.
 */
export async function soakUdpDatagrams({ runs, seed, tell = console.log }: SoakOptions): Promise<void> {
  const before = descriptors()
  const sums = { up: 0, down: 0, taken: 0, refused: 0 }
  for (let done = 0; done < runs; done += 1_000) {
    const dice = new Dice(seed + done)
    const server = createSocksServer(serverOptions(dice))
    const { port } = await server.listen(0)
    const stage = await Stage.open(port, dice)
    for (let count = 0; count < Math.min(runs - done, 1_000); count++) {
      await stage.throw(count)
      if (count % 50 === 49) await stage.check(`sentinel ${done + count}`)
    }
    const { bytesUp, bytesDown } = server.stats()
    sums.up += bytesUp
    sums.down += bytesDown
    sums.taken += stage.far.stats().datagramsReceived
    sums.refused += stage.far.stats().dropped.malformed + stage.far.stats().dropped.fragment
    stage.close()
    await server.close({ graceMs: 0 })
    await untilEqual(descriptors, before)
  }
  const relayed = `relayed ${mega(sums.up)} up and ${mega(sums.down)} down`
  tell(`datagrams: ${runs}, ${relayed}; the client took ${sums.taken} and refused ${sums.refused}`)
}

/** Everybody around one association of a server, and around one of a client. */
class Stage {
  readonly #dice: Dice
  readonly #relay: { readonly host: string; readonly port: number }
  readonly #near: UdpAssociation
  /** The association of a client whose relay is `#fake`. */
  readonly far: UdpAssociation
  readonly #fake: Peer
  readonly #client: Peer
  readonly #stranger: Peer
  readonly #echo: Peer
  readonly #silent: Peer
  #outbound = 0

  private constructor(dice: Dice, relayPort: number, ends: readonly [UdpAssociation, UdpAssociation], peers: Peers) {
    this.#dice = dice
    this.#relay = { host: '127.0.0.1', port: relayPort }
    this.#near = ends[0]
    this.far = ends[1]
    this.#fake = peers.fake
    this.#client = peers.client
    this.#stranger = peers.stranger
    this.#echo = peers.echo
    this.#silent = peers.silent
  }

  static async open(proxyPort: number, dice: Dice): Promise<Stage> {
    let relayPort = 0
    const client = new SocksClient({
      proxy: `socks5h://127.0.0.1:${proxyPort}`,
      onHop: ({ bound }) => {
        relayPort = bound.port
      },
    })
    // It only holds the relay open: what sends to it is a socket that may send anything.
    const near = await client.udpAssociate()
    const peers: Peers = {
      fake: await Peer.open(),
      client: await Peer.open(),
      stranger: await Peer.open('127.0.0.2'),
      echo: await Peer.echo(),
      silent: await Peer.open(),
    }
    const [control] = duplexPair()
    const relay = { relayHost: '127.0.0.1', relayPort: peers.fake.port }
    const far = await openUdpAssociation({ control, ...relay, reassemble: dice.of(true, false) })
    const stage = new Stage(dice, relayPort, [near, far], peers)
    await stage.check('first')
    return stage
  }

  /** One datagram of garbage. */
  async throw(count: number): Promise<void> {
    const dice = this.#dice
    const side = dice.roll(4)
    const data = side === 2 ? bare(dice) : headed(dice, dice.of(this.#echo.address, this.#silent.address))
    if (side < 2) await dice.of(this.#client, this.#client, this.#client, this.#stranger).send(data, this.#relay)
    else if (side === 2) {
      const way = { host: '127.0.0.1', port: this.#outbound }
      await dice.of(this.#silent, this.#echo, this.#stranger).send(data, way)
    } else {
      const way = { host: '127.0.0.1', port: this.far.address().port }
      await dice.of(this.#fake, this.#fake, this.#fake, this.#stranger).send(data, way)
    }
    // Lest the system drops what should be seen.
    if (data.length > 1_000 || count % 8 === 0) await turn()
  }

  /** Both associations still do what they are for. */
  async check(text: string): Promise<void> {
    const hello = encodeUdpDatagram({ fragment: 0, address: this.#silent.address, payload: new Uint8Array(0) })
    await this.#client.send(hello, this.#relay)
    await works(this.#relay, this.#client, this.#echo, text)
    // Where the relay sends from now: an idle one closes its way out, and opens another.
    while (this.#echo.pending > 0) this.#outbound = (await this.#echo.next()).from.port
    await this.#hears(text)
    for (const peer of [this.#silent, this.#stranger, this.#fake]) while (peer.pending > 0) await peer.next()
  }

  /** The client takes what its relay sends. */
  async #hears(text: string): Promise<void> {
    let isHeard = false
    const listener = (data: Buffer): void => {
      if (data.toString() === text) isHeard = true
    }
    this.far.on('message', listener)
    const answer = encodeUdpDatagram({ fragment: 0, address: this.#echo.address, payload: Buffer.from(text) })
    for (let attempt = 0; attempt < 500 && !isHeard; attempt++) {
      await this.#fake.send(answer, { host: '127.0.0.1', port: this.far.address().port })
      const deadline = performance.now() + 10
      while (!isHeard && performance.now() < deadline) await turn()
    }
    this.far.off('message', listener)
    if (!isHeard) throw new Error(`the client does not take anything any more: ${text}`)
  }

  close(): void {
    this.#near.close()
    this.far.close()
    for (const peer of [this.#fake, this.#client, this.#stranger, this.#echo, this.#silent]) peer.close()
  }
}

interface Peers {
  readonly fake: Peer
  readonly client: Peer
  readonly stranger: Peer
  readonly echo: Peer
  readonly silent: Peer
}

function serverOptions(dice: Dice): ServerOptions {
  return {
    commands: ['udp-associate'],
    authorize: whim(dice),
    egress: ({ kind }) => kind === 'loopback',
    lookup: (name, _options, callback) => {
      if (dice.roll(5) === 0) return
      const answer = dice.of('127.0.0.1', '127.0.0.2', '::1', '192.0.2.1', '')
      callback(name === '' || answer === '' ? new Error('whim') : null, [{ address: answer, family: 4 }])
    },
    dialTimeoutMs: 20,
    udp: {
      reassemble: dice.of(true, false),
      nat: dice.of('restricted', 'full-cone'),
      replyAddress: dice.of('source', 'request'),
      maxMappings: dice.of(2, 100, 1_024),
      idleTimeoutMs: dice.of(5, 1_000, 0),
    },
  }
}

/** Every way in which an application may answer, but for 127.0.0.1, which is always let through. */
function whim(dice: Dice): Authorize {
  return ({ host }) => {
    if (host === '127.0.0.1') return true
    switch (dice.roll(7)) {
      case 0:
        throw new Error('whim')
      case 1:
        return Promise.reject(new Error('whim'))
      case 2:
        return new Promise(() => {})
      case 3:
        return dice.of<boolean | number>(false, 0, 2, 5, 256)
      case 4:
        // What an application in JavaScript may return.
        return 'yes' as unknown as boolean
      case 5:
        return pause(dice.roll(5), true)
      default:
        return true
    }
  }
}

function mega(bytes: number): string {
  return `${(bytes / 1e6).toFixed(2)} MB`
}
