#!/usr/bin/env node
import { errorCode, UsageError } from './command-line.js'
import { SERVE_USAGE, serve } from './serve.js'

type Command = (argv: readonly string[], streams: NodeJS.Process) => Promise<number>

const COMMANDS: Readonly<Record<string, { readonly run: Command; readonly usage: string }>> = {
  serve: { run: serve, usage: SERVE_USAGE },
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
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (command === undefined) throw new UsageError(`unknown command ${JSON.stringify(name)}; see tubesock --help`)
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(`usage: ${command.usage}`)
    return 0
  }
  return command.run(argv, process)
}

/** Errors of `node:util` parseArgs: the user's words, not a bug. Its messages name options and never their values. */
function isUsageError(error: unknown): error is Error {
  return error instanceof UsageError || errorCode(error).startsWith('ERR_PARSE_ARGS_')
}

// A log that nobody reads any more (EPIPE) is no reason to drop tunnels.
process.stdout.on('error', () => {})
process.stderr.on('error', () => {})

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    if (!isUsageError(error)) throw error
    process.stderr.write(`tubesock: ${error.message.split('\n', 1)[0]}\n`)
    process.exit(2)
  },
)
