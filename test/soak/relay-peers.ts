// Clients and targets of a relay, in a process of their own: it is sent scripts and tells what came of each.

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import { reset } from '../../src/stream/reset.js'
import { Dice } from './datagrams.js'
import { Pattern } from './relay-pattern.js'
import { type EndScript, type TunnelScript, writeLength } from './relay-script.js'

/** What is asked of this process. */
export type PeersRequest =
  | {
      readonly type: 'run'
      readonly id: number
      readonly port: number
      readonly script: TunnelScript
      readonly hold?: Hold
    }
  | { readonly type: 'release' }

/** What both ends leave undone until they are released. `reads`: they read nothing. `ends`: they send no FIN. */
export type Hold = 'reads' | 'ends'

/** What came of a tunnel. */
export interface TunnelResult {
  readonly id: number
  readonly bytesUp: number
  readonly bytesDown: number
  /** Whether a FIN came to both ends, after everything. */
  readonly isComplete: boolean
  /** A byte that is not what was sent there, or a tunnel that moves no more. */
  readonly fault: string | undefined
}

/** How long a writer must have got nowhere before a stubborn reader reads on, and how often it is stubborn. */
const BLOCKED_MS = 25
const STUBBORN_TIMES = 8

/** Nothing moves for so long: it will not move again. */
const STUCK_MS = 30_000

/** Shut by the first tunnel that is held, opened for all of them at once. */
let gate: { readonly opened: Promise<void>; readonly open: () => void } | undefined

function shut(): void {
  if (gate !== undefined) return
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  gate = { opened, open }
}

interface EndOptions {
  readonly script: EndScript
  readonly theirs: EndScript
  readonly sent: number
  readonly other: () => End | undefined
  readonly onMoved: (end: End) => void
}

/** One end of a tunnel, once it may send and receive. */
class End {
  received = 0
  sent = 0
  hasEnd = false
  fault: string | undefined
  readonly #socket: Socket
  readonly #script: EndScript
  readonly #theirs: Pattern
  readonly #dice: Dice
  readonly #onMoved: (end: End) => void
  readonly #other: () => End | undefined
  #stubborn = 0
  #patience = 0
  #wake = (): void => {}

  constructor(socket: Socket, { script, theirs, sent, other, onMoved }: EndOptions) {
    this.#socket = socket
    this.#script = script
    this.#theirs = new Pattern(theirs.name)
    this.#other = other
    this.#dice = new Dice(script.name)
    this.#onMoved = onMoved
    this.sent = sent
    this.hasEnd = socket.readableEnded
    socket.on('drain', () => this.#wake())
    socket.on('close', () => this.#wake())
    socket.on('end', () => {
      this.hasEnd = true
      this.#wake()
    })
  }

  /** `early`: what came before. */
  async read(early: Buffer, hold: Hold | undefined): Promise<void> {
    const socket = this.#socket
    socket.pause()
    socket.on('data', (chunk) => this.#receive(chunk))
    if (early.length > 0) this.#receive(early)
    if (hold === 'reads') await gate?.opened
    if (this.#script.reading === 'stubborn') await this.#untilBlocked()
    socket.resume()
  }

  async #untilBlocked(): Promise<void> {
    this.#stubborn++
    this.#patience = 1 + this.#dice.roll(1 << (10 + this.#dice.roll(12)))
    const written = (): number => this.#other()?.sent ?? 0
    for (let before = -1; before !== written() && !this.#socket.destroyed; await pause(BLOCKED_MS)) before = written()
  }

  #receive(chunk: Buffer): void {
    this.fault ??= this.#theirs.fault(chunk, this.received)
    this.received += chunk.length
    this.#onMoved(this)
    const { reading } = this.#script
    this.#patience -= chunk.length
    if (reading === 'stubborn' && this.#patience < 0 && this.#stubborn < STUBBORN_TIMES && !this.#socket.isPaused()) {
      this.#socket.pause()
      void this.#untilBlocked().then(() => this.#socket.resume())
    }
    const stops = reading === 'slow' || (reading === 'stalling' && this.#dice.roll(16) === 0)
    if (!stops || this.#socket.isPaused()) return
    this.#socket.pause()
    setTimeout(() => this.#socket.resume(), this.#dice.roll(reading === 'slow' ? 3 : 60))
  }

  async write(hold: Hold | undefined): Promise<void> {
    const [socket, script, dice] = [this.#socket, this.#script, this.#dice]
    const mine = new Pattern(script.name)
    while (script.waitsForEnd && !this.hasEnd && !socket.destroyed) await this.#moved()
    while (this.sent < script.total && !socket.destroyed) {
      const length = Math.min(writeLength(script.writing, dice), script.total - this.sent)
      const chunk = mine.bytes(this.sent, length)
      this.sent += length
      if (!socket.write(chunk)) await this.#moved()
      this.#onMoved(this)
      if (script.writing === 'trickle') await turn()
      if (script.pauses && dice.roll(20) === 0) await pause(dice.roll(8))
    }
    if (hold === 'ends') await gate?.opened
    if (!socket.destroyed) socket.end()
  }

  #moved(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }
}

/** A client, a relay's port and a target, from the greeting to the end. */
async function run({ id, port, script, hold }: PeersRequest & { type: 'run' }): Promise<TunnelResult> {
  const ends: Partial<Record<'client' | 'target', End>> = {}
  const sockets: Socket[] = []
  let fault: string | undefined
  let timer: NodeJS.Timeout | undefined
  const isOver = new Promise<void>((resolve) => {
    const listener = createServer({ allowHalfOpen: true, noDelay: true })
    const client = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
    let open = 0
    const watch = (socket: Socket): void => {
      open++
      sockets.push(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        listener.close()
        if (--open === 0) resolve()
      })
    }
    const onMoved = (end: End): void => {
      timer?.refresh()
      const { cut } = script
      if (cut !== undefined && ends[cut.end] === end && end.sent + end.received >= cut.after)
        cutOff(sockets[cut.end === 'client' ? 0 : 1])
    }
    timer = setTimeout(() => {
      fault = 'nothing moves any more'
      for (const socket of sockets) socket.destroy()
    }, STUCK_MS)
    watch(client)
    listener.on('connection', (socket) => {
      listener.close()
      watch(socket)
      const { client: theirs, target: own } = script
      const end = new End(socket, { script: own, theirs, sent: 0, other: () => ends.client, onMoved })
      ends.target = end
      void end.read(Buffer.alloc(0), hold)
      void end.write(hold)
    })
    listener.listen(0, '127.0.0.1', () => {
      ask(client, portOf(listener.address()), script)
        .then(async ({ rest, sent }) => {
          const { client: own, target: theirs } = script
          const end = new End(client, { script: own, theirs, sent, other: () => ends.target, onMoved })
          ends.client = end
          await Promise.all([end.read(rest, hold), end.write(hold)])
        })
        .catch((error: unknown) => {
          if (script.cut === undefined) fault ??= String(error)
          client.destroy()
        })
    })
  })
  await isOver
  clearTimeout(timer)
  const { client, target } = ends
  return {
    id,
    bytesUp: target?.received ?? 0,
    bytesDown: client?.received ?? 0,
    isComplete:
      client?.hasEnd === true &&
      target?.hasEnd === true &&
      client.received === script.target.total &&
      target.received === script.client.total,
    fault: fault ?? prefixed('down', client?.fault) ?? prefixed('up', target?.fault),
  }
}

/** Asks for the target, and sends `early` bytes with that. Resolves to what came behind the answer. */
async function ask(client: Socket, port: number, script: TunnelScript): Promise<{ rest: Buffer; sent: number }> {
  const name = Buffer.from('first-is-dead.test')
  const address = script.byName ? Buffer.from([3, name.length, ...name]) : Buffer.from([1, 127, 0, 0, 1])
  const request = Buffer.concat([Buffer.from([5, 1, 0, 5, 1, 0]), address, Buffer.from([port >> 8, port & 0xff])])
  const { early, client: own } = script
  const sent = early === undefined || own.waitsForEnd ? 0 : Math.min(early, own.total)
  await once(client, 'connect')
  client.write(Buffer.concat([request, new Pattern(own.name).bytes(0, sent)]))
  let answer = Buffer.alloc(0)
  while (answer.length < 12) {
    const chunk: Buffer | null = client.read()
    if (chunk !== null) answer = Buffer.concat([answer, chunk])
    else if (client.readableEnded || client.destroyed) throw new Error('the answer ended early')
    else await Promise.race([once(client, 'readable'), once(client, 'close')])
  }
  if (answer.subarray(0, 4).toString('hex') !== '05000500') throw new Error(`answered ${answer.toString('hex', 0, 12)}`)
  return { rest: answer.subarray(12), sent }
}

/** Node loses a socket that is reset while its FIN is under way: it never closes. */
function cutOff(socket: Socket | undefined): void {
  if (socket !== undefined) reset(socket)
}

function portOf(address: unknown): number {
  return typeof address === 'object' && address !== null ? Number(Reflect.get(address, 'port')) : 0
}

function prefixed(way: string, fault: string | undefined): string | undefined {
  return fault === undefined ? undefined : `${way}, ${fault}`
}

process.on('message', (message: PeersRequest) => {
  if (message.type === 'release') {
    gate?.open()
    gate = undefined
    return
  }
  if (message.hold !== undefined) shut()
  void run(message).then((result) => process.send?.(result))
})
