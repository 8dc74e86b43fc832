// Drives a master through every method of the client library of 2018: node drive.js URL ASSET.zip FOLDER
'use strict';

const assert = require('assert');
const fs = require('fs');
const path = require('path');
const TerasliceClient = require('teraslice-client-js');

const [, , host, asset, folder] = process.argv;
const unused = watchMethods();
const client = new TerasliceClient({ host });
const called = [];

// Returns the methods of the library that have not been used yet; the set shrinks.
function watchMethods() {
    const names = new Set();
    for (const part of ['client', 'assets', 'cluster', 'jobs', 'job']) {
        const { prototype } = require(`teraslice-client-js/lib/${part}`);
        const methods = Object.getOwnPropertyNames(prototype).filter((name) => !/^_|^constructor$/.test(name));
        for (const method of methods) {
            const name = `${part}.${method}`;
            const original = prototype[method];
            names.add(name);
            prototype[method] = function used(...args) {
                names.delete(name);
                return original.apply(this, args);
            };
        }
    }
    return names;
}

// Calls a method and notes its name.
async function call(name, promise) {
    const result = await promise;
    called.push(name);
    return result;
}

async function refused(name, promise, code) {
    try {
        await promise;
    } catch (error) {
        assert.strictEqual(error.code, code, `${name}: ${error.message}`);
        called.push(name);
        return error;
    }
    throw new Error(`${name} was not refused`);
}

const endless = {
    name: 'endless',
    lifecycle: 'persistent',
    workers: 1,
    operations: [
        { _op: 'data_generator', size: 100 },
        { _op: 'delay', ms: 20 },
        { _op: 'noop' }
    ]
};

const finite = {
    name: 'finite',
    lifecycle: 'once',
    workers: 1,
    operations: [
        { _op: 'data_generator', size: 1000, seed: 1 },
        { _op: 'file_exporter', path: path.join(folder, 'client-out'), format: 'ldjson' }
    ]
};

async function assets() {
    const posted = await call('assets.post', client.assets.post(fs.createReadStream(asset), true));
    const id = posted.asset_id || posted._id;
    assert.match(id, /^[0-9a-f]{40}$/);
    assert.match(await call('cluster.txt assets', client.cluster.txt('assets')), new RegExp(id));
    const removed = await call('assets.delete', client.assets.delete(id, true));
    assert.strictEqual(removed.asset_id || removed._id, id);
    await refused('assets.delete unknown', client.assets.delete(id, true), 404);
}

async function cluster() {
    const state = await call('cluster.state', client.cluster.state());
    assert.ok(Object.values(state).every((node) => node.state === 'connected'));
    const stats = await call('cluster.stats', client.cluster.stats());
    assert.strictEqual(typeof stats.slicer.processed, 'number');
    for (const type of ['slicers', 'ex', 'jobs', 'nodes', 'workers']) {
        assert.match(await call(`cluster.txt ${type}`, client.cluster.txt(type)), /^\w+ /);
    }
}

async function running() {
    const job = await call('jobs.submit', client.jobs.submit(endless));
    await call('job.waitForStatus', job.waitForStatus('running', 50, 30000));
    const ex = await call('job.ex', job.ex());
    assert.match(ex, /^[0-9a-f-]{36}$/);
    assert.strictEqual(await call('job.status', job.status()), 'running');
    const [slicer] = await call('job.slicer', job.slicer());
    assert.strictEqual(slicer.ex_id, ex);
    const slicers = await call('cluster.slicers', client.cluster.slicers());
    assert.ok(slicers.some((entry) => entry.ex_id === ex));
    await call('job.changeWorkers', job.changeWorkers('add', 1));
    for (let tries = 0; (await job.workers()).length !== 2; tries += 1) {
        assert.ok(tries < 200, 'two workers');
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    called.push('job.workers');
    assert.strictEqual((await call('job.pause', job.pause())).status, 'paused');
    assert.strictEqual((await call('job.resume', job.resume())).status, 'running');
    assert.strictEqual((await call('job.stop', job.stop())).status, 'stopped');
    const list = await call('jobs.list', client.jobs.list());
    assert.ok(list.some((record) => record.ex_id === ex));
    assert.strictEqual((await call('job.spec', job.spec())).name, 'endless');
    await refused('job.pause ended', job.pause(), 404);
}

async function ended() {
    const job = await call('jobs.submit not started', client.jobs.submit(finite, true));
    await refused('job.ex none', job.ex(), 404);
    const started = await call('job.start', job.start());
    assert.strictEqual(started.job_id, job.id());
    await job.waitForStatus('completed', 50, 60000);
    assert.deepStrictEqual(await call('job.errors', job.errors()), []);
    const recovered = await call('job.recover', job.recover({ cleanup: 'all' }));
    assert.match(recovered.ex_id, /^[0-9a-f-]{36}$/);
    await job.waitForStatus('completed', 50, 60000);
    const lines = fs.readdirSync(path.join(folder, 'client-out'))
        .filter((name) => !name.startsWith('.'))
        .map((name) => fs.readFileSync(path.join(folder, 'client-out', name), 'utf8').trim().split('\n').length);
    assert.strictEqual(lines.reduce((sum, count) => sum + count, 0), 1000);
}

async function byHand() {
    assert.strictEqual((await call('get', client.jobs.get('/'))).clustering_type, 'native');
    const { job_id: id } = await call('post', client.jobs.post('/jobs', { qs: { start: false }, json: finite }));
    assert.strictEqual((await call('jobs.wrap', client.jobs.wrap(id).spec())).name, 'finite');
    const changed = Object.assign({}, finite, { name: 'changed' });
    assert.strictEqual((await call('put', client.jobs.put(`/v1/jobs/${id}`, changed))).name, 'changed');
    assert.strictEqual((await call('delete', client.jobs.delete(`/jobs/${id}`)))._deleted, true);
    assert.ok(Array.isArray(await call('jobs.list status', client.jobs.list('completed,stopped'))));
    client.cluster.nodes(); // Does nothing.
}

(async () => {
    await cluster();
    await assets();
    await running();
    await ended();
    await byHand();
    assert.deepStrictEqual([...unused], []);
    console.log(JSON.stringify(called));
})().catch((error) => {
    console.error(error);
    process.exit(1);
});
