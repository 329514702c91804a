/**
 * The scheme of the request that Node is making right now: whether `node:http` or `node:https` stands right below
 * Node's own constructor of requests on the stack. `undefined` where neither does.
 *
 * Node asks an agent for its scheme and its default port before it says anything of the request, and an agent that
 * answers wrongly sends `https://host/` to port 80, or a Host header with a port that nobody wrote. An agent for both
 * has no other way to know.
 * @param getter the function that Node called, whose frame is left out.
 */
export function callingScheme(getter: () => unknown): 'http:' | 'https:' | undefined {
  const files = callers(getter)
  if (files.includes('node:https')) return 'https:'
  return files.includes('node:http') ? 'http:' : undefined
}

/** Files of the two frames below `getter`. */
function callers(getter: () => unknown): readonly (string | null | undefined)[] {
  const { prepareStackTrace, stackTraceLimit } = Error
  const holder: { stack?: unknown } = {}
  try {
    Error.prepareStackTrace = (_error, frames) => frames.map((frame) => frame.getFileName())
    Error.stackTraceLimit = 2
    Error.captureStackTrace(holder, getter)
    // The stack is made into what prepareStackTrace returns when it is first read.
    return Array.isArray(holder.stack) ? holder.stack : []
  } catch {
    // Node can be told to freeze its globals.
    return []
  } finally {
    restore({ prepareStackTrace, stackTraceLimit })
  }
}

function restore(settings: Pick<ErrorConstructor, 'prepareStackTrace' | 'stackTraceLimit'>): void {
  try {
    Object.assign(Error, settings)
  } catch {
    // Frozen: nothing was changed.
  }
}
