import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { cleanup } from './servers.js'

/** The built command. `npm test` builds it first. */
export const CLI: string = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

/** What a program did. */
export interface Result {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: Buffer
  readonly stderr: string
}

export interface StartOptions {
  /** Written to stdin, which is then closed. Without it stdin is empty. */
  readonly input?: string | Uint8Array | undefined
  /** Leaves stdin open after `input`. */
  readonly keepStdinOpen?: boolean
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  /** In a process group of its own, as a terminal's foreground job is. */
  readonly ownGroup?: boolean
  /** Descriptors of this process that it has as 3 and on. */
  readonly inherit?: readonly number[]
}

/** A child process of a test; killed when the test is over, whatever came of it. */
export class Program {
  readonly finished: Promise<Result>
  readonly child: ChildProcessWithoutNullStreams
  readonly #text = { stdout: '', stderr: '' }
  readonly #ownGroup: boolean
  #ended = false
  #wake: () => void = () => {}

  constructor(command: string, args: readonly string[], options: StartOptions = {}) {
    const { input, keepStdinOpen = false, ownGroup = false, inherit = [], cwd, env = plainEnvironment() } = options
    this.#ownGroup = ownGroup
    const stdio = ['pipe', 'pipe', 'pipe', ...inherit] as ['pipe', 'pipe', 'pipe'] // what the others are, no type tells
    this.child = spawn(command, args, { stdio, detached: ownGroup, env, cwd })
    cleanup(() => this.#kill())
    // A program that has ended does not read its input; its exit code tells why.
    this.child.stdin.on('error', () => {})
    if (input !== undefined) this.child.stdin.write(input)
    if (!keepStdinOpen) this.child.stdin.end()
    const chunks: Buffer[] = []
    this.child.stdout.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      // Large outputs are bodies: nobody looks for a pattern there.
      if (this.#text.stdout.length < 100_000) this.#text.stdout += chunk.toString('latin1')
      this.#wake()
    })
    this.child.stderr.on('data', (chunk: Buffer) => {
      this.#text.stderr += chunk.toString()
      this.#wake()
    })
    this.finished = new Promise((resolve, reject) => {
      this.child.on('error', reject)
      this.child.on('close', (code, signal) => {
        this.#ended = true
        this.#wake()
        resolve({ code, signal, stdout: Buffer.concat(chunks), stderr: this.#text.stderr })
      })
    })
    this.finished.catch(() => {})
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('the program did not start')
    return this.child.pid
  }

  /** Output on stderr so far. */
  get stderr(): string {
    return this.#text.stderr
  }

  /** The first match in the output, once it is there. Rejects when the program ends without one. */
  async output(pattern: RegExp, stream: 'stdout' | 'stderr' = 'stdout'): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.#text[stream])
      if (match !== null) return match
      if (this.#ended) throw new Error(`ended without ${pattern}: ${this.#text.stdout}\n${this.#text.stderr}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** Signals the program and what it has started. Only with `ownGroup`. */
  killGroup(signal: NodeJS.Signals): void {
    if (!this.#ownGroup) throw new Error('the program shares the group of the tests')
    try {
      process.kill(-this.pid, signal)
    } catch {
      // Gone by itself.
    }
  }

  async #kill(): Promise<void> {
    if (this.#ended || this.child.pid === undefined) return
    if (this.#ownGroup) this.killGroup('SIGKILL')
    else this.kill('SIGKILL')
    await this.finished
  }
}

/** Runs a program to its end. */
export function run(command: string, args: readonly string[], options?: StartOptions): Promise<Result> {
  return new Program(command, args, options).finished
}

/** Runs one `tubesock` command line to its end. */
export function tubesock(args: readonly string[], options?: StartOptions): Promise<Result> {
  return run(process.execPath, [CLI, ...args], options)
}

/** A running `tubesock serve`. */
export interface Serving {
  readonly program: Program
  readonly host: string
  readonly port: number
  /** `host:port`, with brackets around IPv6. */
  readonly address: string
}

/** Starts `tubesock serve` on a free loopback port; resolves when it says that it is ready. */
export async function startServe(args: readonly string[] = [], listen = '127.0.0.1:0'): Promise<Serving> {
  const program = new Program(process.execPath, [CLI, 'serve', '--listen', listen, ...args])
  const [, address = '', bracketed, plain, port] = await program.output(
    /^listening on socks5:\/\/((?:\[([^\]]+)\]|([^:]+)):(\d+))\n/,
  )
  return { program, host: bracketed ?? plain ?? '', port: Number(port), address }
}

/** Whether something accepts connections there. */
export async function isListening(port: number, host = '127.0.0.1'): Promise<boolean> {
  const socket = connect(port, host)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/** The environment without what would change a program's mind about proxies. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/_proxy$/i.test(name)))
}
