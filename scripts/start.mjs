// @ts-check
// `npm start`: the `serve` command, and beside it a page to fetch through it, so that the line to try works offline too.
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'

// One press of Ctrl-C comes twice where npm runs this script: from the terminal, and passed on by npm. Signals that
// follow each other within this many milliseconds are one: the server takes its second signal for "at once".
const SAME_PRESS_MS = 500

// When this process is killed without a chance to say so, the server sees its channel close, and stops as if asked to.
const STOP_WITH_PARENT = 'data:text/javascript,process.on("disconnect",()=>process.kill(process.pid,"SIGTERM"))'

const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url))

const page = createServer((_request, response) => {
  response.setHeader('Content-Type', 'text/plain')
  response.end('Hello through SOCKS5. Any other URL works the same way.\n')
})
await new Promise((resolve) => page.listen(0, '127.0.0.1', () => resolve(undefined)))
const address = page.address()
if (address === null || typeof address === 'string') throw new Error('the page has no port')

const server = spawn(process.execPath, ['--import', STOP_WITH_PARENT, cli, 'serve', ...process.argv.slice(2)], {
  stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  // Out of the terminal's reach: signals come through this process alone.
  detached: true,
})
if (server.stdout === null) throw new Error('the server has no output')
server.stdout.setEncoding('utf8')
server.stdout.on('data', (/** @type {string} */ text) => {
  process.stdout.write(text)
  const ready = /listening on socks5:\/\/(\S+)/.exec(text)
  if (ready) process.stdout.write(`try: curl --proxy socks5h://${ready[1]} http://127.0.0.1:${address.port}/\n`)
})

let lastSignal = Number.NEGATIVE_INFINITY
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) {
  process.on(signal, () => {
    const now = performance.now()
    if (now - lastSignal < SAME_PRESS_MS) return
    lastSignal = now
    server.kill(signal)
  })
}
server.on('exit', (code) => process.exit(code ?? 1))
