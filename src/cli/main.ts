#!/usr/bin/env node
import { createRequire } from 'node:module'
import { errorCode, UsageError } from './command-line.js'
import { CONNECT_USAGE, connect } from './connect.js'
import { DECODE_USAGE, decode } from './decode.js'
import { FORWARD_USAGE, forward } from './forward.js'
import type { CommandIo } from './io.js'
import { SERVE_USAGE, serve } from './serve.js'

type Command = (argv: readonly string[], io: CommandIo) => Promise<number>

const COMMANDS: Readonly<Record<string, { readonly run: Command; readonly usage: string }>> = {
  serve: { run: serve, usage: SERVE_USAGE },
  connect: { run: connect, usage: CONNECT_USAGE },
  forward: { run: forward, usage: FORWARD_USAGE },
  decode: { run: decode, usage: DECODE_USAGE },
}

const USAGE = `usage: ${Object.values(COMMANDS)
  .map(({ usage }) => usage)
  .join('\n')}`

/** Runs one command line. Resolves to the exit code. */
async function main([name, ...argv]: readonly string[]): Promise<number> {
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    const out = name === undefined ? process.stderr : process.stdout
    out.write(USAGE)
    return name === undefined ? 2 : 0
  }
  if (name === '--version' || name === '-V') {
    process.stdout.write(`${version()}\n`)
    return 0
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (command === undefined) throw new UsageError('unknown command; see tubesock --help')
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(`usage: ${command.usage}`)
    return 0
  }
  return command.run(argv, process)
}

function version(): string {
  const { version } = createRequire(import.meta.url)('../package.json')
  return version
}

/** Errors of `node:util` parseArgs: the user's words, not a bug. */
function isUsageError(error: unknown): error is Error {
  return error instanceof UsageError || errorCode(error).startsWith('ERR_PARSE_ARGS_')
}

/** One line. It repeats no argument, which may be a password in the wrong place; messages of parseArgs name options alone. */
function usageProblem(error: Error): string {
  if (errorCode(error) === 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL') return 'unexpected argument; see tubesock --help'
  return error.message.split('\n', 1)[0] ?? ''
}

// A log that nobody reads any more (EPIPE) is no reason to drop tunnels.
process.stdout.on('error', () => {})
process.stderr.on('error', () => {})

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    if (!isUsageError(error)) throw error
    process.stderr.write(`tubesock: ${usageProblem(error)}\n`)
    process.exit(2)
  },
)
