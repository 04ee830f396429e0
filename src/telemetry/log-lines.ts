/** The part of a stream that takes lines: `done` gets the error of a line that was not written. */
type LineStream = { readonly write: (line: string, done: (error?: Error | null) => void) => unknown };

/** What the log says when it can be written again. */
export const LOG_LINES_DROPPED = 'lines of this log could not be written since the start';

/**
 * A writer of log lines to `stream`. A line that cannot be written (the log's reader is gone, its disk is full) is dropped
 * and counted: a log never ends a service. After a line that could be written again, `onDropped` is told how many were
 * dropped since the start. The owner of the stream listens for its `error` event, which Node emits beside.
 */
export function logLines(stream: LineStream, onDropped: (lines_count: number) => void): (line: string) => void {
  let dropped_count = 0;
  let told_count = 0;
  return (line) =>
    void stream.write(line, (error) => {
      if (error !== null && error !== undefined) dropped_count += 1;
      else if (dropped_count > told_count) {
        told_count = dropped_count;
        onDropped(dropped_count);
      }
    });
}
