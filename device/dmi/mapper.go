package dmi

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/edgekit/edgekit/device/dmi/internal/socket"
	"github.com/edgekit/edgekit/device/dmi/v1beta1"
)

// window is how many calls to one mapper are in work at once.
const window = 8

// mapper is a mapper that has registered: the connection to it, and what it is to have. The
// Manager's mu guards all but m, name and the channels.
type mapper struct {
	m         *Manager
	name      string // that of info, which does not change
	info      info
	running   bool          // run was started
	ended     chan struct{} // closed when the mapper is forgotten
	wake      chan struct{} // there is something to do
	epoch     int           // grows with each registration: the connection is made anew
	connected bool
	since     time.Time // when connected changed
	away      bool      // it is not connected for Grace
	devices   int       // how many it owns
	inherited bool      // it registered with an earlier run of edgecore, which may have given it more than is stored

	given map[string]*given  // what it may have, by device
	dirty map[string]attempt // devices that are to be brought in line
	busy  map[string]bool    // devices with a call in work

	models map[string]uint64 // digests of the models that it has, by ID

	modelMu sync.Mutex // held while a model is given to the mapper, before the Manager's mu
}

// given is what a mapper has of a device.
type given struct {
	digest  uint64
	certain bool   // it has exactly that
	present bool   // it has the device since it last registered or came back
	stored  uint64 // digest in the store; 0 for none
	model   string // ID
}

// attempt is a call that is to be made.
type attempt struct {
	next   time.Time // zero means now
	failed int
}

func newMapper(m *Manager, i info) *mapper {
	return &mapper{
		m: m, name: i.Name, info: i, ended: make(chan struct{}), wake: make(chan struct{}, 1), since: time.Now(), given: make(map[string]*given),
		dirty: make(map[string]attempt), busy: make(map[string]bool), models: make(map[string]uint64),
	}
}

func (p *mapper) endLocked() {
	select {
	case <-p.ended:
	default:
		close(p.ended)
	}
}

// loadLocked notes what the mapper had before this program was started.
func (p *mapper) loadLocked(id string, digest uint64) {
	p.given[id] = &given{digest: digest, certain: true, stored: digest}
	p.dirty[id] = attempt{}
}

// changedLocked has a device brought in line.
func (p *mapper) changedLocked(id string) {
	p.dirty[id] = attempt{}
	notify(p.wake)
}

// resyncLocked has all devices given to the mapper again: it has registered or come back.
func (p *mapper) resyncLocked() {
	for _, g := range p.given {
		g.present = false
	}
	for id := range p.given {
		p.dirty[id] = attempt{}
	}
	for id, owner := range p.m.owners {
		if owner == p {
			p.dirty[id] = attempt{}
		}
	}
	clear(p.models)
	notify(p.wake)
}

// run keeps the connection until ctx ends or the mapper is forgotten.
func (p *mapper) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		select {
		case <-p.ended:
			cancel()
		case <-ctx.Done():
		}
	})
	defer cancel()
	for ctx.Err() == nil {
		p.m.mu.Lock()
		i, epoch := p.info, p.epoch
		p.m.mu.Unlock()
		conn, err := socket.Dial(i.Socket, p.m.codec, i.check)
		if err != nil { // gRPC refuses its options: trying again does not help
			p.m.log.Error("mapper cannot be called", "mapper", i.Name, "socket", i.Socket, "err", err)
			<-ctx.Done()
			return
		}
		p.drive(ctx, conn, epoch)
		p.setConnected(false)
		conn.Close()
	}
}

// drive brings the mapper in line over one connection until it registers anew.
func (p *mapper) drive(ctx context.Context, conn *grpc.ClientConn, epoch int) {
	ctx, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	calls.Go(func() { p.follow(ctx, conn) })
	client := v1beta1.NewMapper(conn)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		ids, wait, current := p.next(epoch)
		if !current {
			return
		}
		for _, id := range ids {
			calls.Go(func() { p.done(ctx, id, p.push(ctx, client, id)) })
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// follow keeps the connection up.
func (p *mapper) follow(ctx context.Context, conn *grpc.ClientConn) {
	for {
		state := conn.GetState()
		p.setConnected(state == connectivity.Ready)
		if state == connectivity.Idle {
			conn.Connect()
		}
		if !conn.WaitForStateChange(ctx, state) {
			return
		}
	}
}

func (p *mapper) setConnected(connected bool) {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.connected == connected {
		return
	}
	p.connected, p.since = connected, time.Now()
	m.log.Info("connection to mapper", "mapper", p.info.Name, "protocol", p.info.Protocol, "connected", connected)
	if !connected {
		return
	}
	p.away = false
	notify(m.claimWake)
	m.protocolLocked(p.info.Protocol) // devices of mappers that are away
	p.resyncLocked()
}

// next returns devices that are to be brought in line now, and how long it is until the next.
// It marks them as busy. current is false when the mapper has registered anew.
func (p *mapper) next(epoch int) (ids []string, wait time.Duration, current bool) {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	wait = time.Hour
	if p.epoch != epoch || !p.connected || !m.claimLocked(p.info.Protocol).decided {
		return nil, wait, p.epoch == epoch
	}
	now := time.Now()
	for id, a := range p.dirty {
		if len(p.busy) == window {
			break // a call that ends wakes
		}
		if due := a.next.Sub(now); due > 0 {
			wait = min(wait, due)
			continue
		}
		if !p.busy[id] {
			p.busy[id] = true
			ids = append(ids, id)
		}
	}
	return ids, wait, true
}

// done notes the result of a push.
func (p *mapper) done(ctx context.Context, id string, r result) {
	m := p.m
	m.mu.Lock()
	delete(p.busy, id)
	a, dirty := p.dirty[id]
	if r.err != nil && dirty && ctx.Err() == nil {
		if a.failed == 0 {
			m.log.Warn("device cannot be given to its mapper; trying again, logged once", "device", id, "mapper", p.info.Name, "err", r.err)
		}
		pause := m.cfg.Backoff << min(a.failed, 6)
		p.dirty[id] = attempt{failed: a.failed + 1, next: time.Now().Add(pause)}
	}
	m.mu.Unlock()
	notify(p.wake)
	if r.changed {
		m.note(ctx, p.name, map[string]uint64{id: r.digest})
	}
}
