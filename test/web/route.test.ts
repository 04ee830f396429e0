import { describe, expect, test } from 'vitest';
import { consoleModule } from './console-module.ts';

type Address = { segment: string; id: string | null; query: Record<string, string> };
type Route = {
  hrefOf(segment: string, id?: string, query?: Record<string, unknown>): string;
  parseAddress(path: string, search: string): Address;
  apiPath(list: string, id: string, rest?: string): string;
  queryText(query: Record<string, unknown>): string;
};
type Api = { eventParser(onEvent: (event: string) => void): (text: string) => void };

const route = await consoleModule<Route>('route.js');
const api = await consoleModule<Api>('api.js');

describe('an address', () => {
  test.each(['llama-3.1', 'a/b?c#d', '100 %', '<img src=x>', 'ä ö'])('of %j leads back to it', (id) => {
    const url = new URL(route.hrefOf('training', id, { steps: 300 }), 'http://localhost');
    expect(route.parseAddress(url.pathname, url.search)).toEqual({ segment: 'training', id, query: { steps: '300' } });
  });

  test('never looks like that of a file, which the server would not answer with the console', () => {
    expect(route.hrefOf('models', 'resnet.v1')).toBe('/models/resnet%2Ev1');
  });

  test('leaves out what is empty', () => {
    expect(route.queryText({ a: 1, b: null, c: '', d: undefined })).toBe('?a=1');
    expect(route.queryText({})).toBe('');
  });

  test('survives a stray percent sign', () => {
    expect(route.parseAddress('/models/100%', '').id).toBe('100%');
  });

  test('of the API escapes the id', () => {
    expect(route.apiPath('jobs', 'a/b', '/steps')).toBe('/api/v1/jobs/a%2Fb/steps');
  });
});

describe('the stream of events', () => {
  const read = (...pieces: string[]): string[] => {
    const events: string[] = [];
    const parser = api.eventParser((event) => events.push(event));
    for (const piece of pieces) parser(piece);
    return events;
  };

  test('names each event once it is whole, however the bytes are cut', () => {
    const text =
      'retry: 2000\n: connected\n\nid: 1\nevent: incident\ndata: {"id":"a"}\n\nevent: decision\ndata: {}\n\n';
    expect(read(text)).toEqual(['incident', 'decision']);
    expect(read(...text.split(''))).toEqual(['incident', 'decision']);
  });

  test('heartbeats and events without data are silent', () => {
    expect(read(': heartbeat\n\n', 'event: incident\n\n')).toEqual([]);
  });

  test('carriage returns are line ends too', () => {
    expect(read('event: finding\r\ndata: 1\r\n\r\n')).toEqual(['finding']);
  });
});
