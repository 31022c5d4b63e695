package hub_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
)

// Programs that die. Every effect of a Client or Server passes through a life: each call
// to a Source, Sink, Outbox or Inbox, each dial and each frame that is written. A life
// ends at one of these effects: before it, during it (half a frame is written), or right
// after it, when it has happened and the program does not know yet. From then on the
// program has no effects and gets no results, as after SIGKILL; the fakes hold what was
// durable.

// errDead is the result of every effect of a dead program.
var errDead = errors.New("this program is dead")

// point is where an effect is cut off.
type point int

const (
	before point = iota
	amid
	behind
	numPoints
)

func (p point) String() string { return [...]string{"before", "amid", "behind"}[p] }

// manner is how the peer sees a death.
type manner int

const (
	cutOff    manner = iota // the connection breaks, what was on its way is lost
	finished                // what was on its way arrives, and then the end
	powerless               // what was on its way arrives, and then nothing
	numManners
)

// doom says how a life ends. The zero value is a life without end.
type doom struct {
	kind   string // of the effect that it ends at; empty for any
	after  int    // which of them, counted from 1; 0 for none
	at     point
	manner manner
}

type life struct {
	cancel context.CancelFunc // of the program
	deaths *deaths
	unruly bool // its frames are repeated and reordered

	mu     sync.Mutex
	rnd    *rand.Rand
	doom   doom
	count  int  // of effects so far
	doomed bool // the last effect is under way
	dead   bool
	conns  []*mortalConn
}

// deaths counts which effects programs died at.
type deaths struct {
	mu   sync.Mutex
	at   map[string]int
	sent map[string]int // frames that came twice or late
}

func (d *deaths) note(where *map[string]int, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if *where == nil {
		*where = make(map[string]int)
	}
	(*where)[what]++
}

func (l *life) isDead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// act performs one effect, unless the life has ended: whole, or half of it when the life
// ends during it.
func (l *life) act(kind string, whole func() error, half func()) error {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return errDead
	}
	if l.doom.kind == "" || l.doom.kind == kind {
		l.count++
	}
	last, at := l.count == l.doom.after && !l.doomed, l.doom.at
	l.doomed = l.doomed || last
	l.mu.Unlock()
	if last {
		l.deaths.note(&l.deaths.at, fmt.Sprint(kind, " ", at))
	}
	var err error
	switch {
	case !last || at == behind:
		err = whole()
	case at == amid && half != nil:
		half()
	}
	if last {
		l.die()
	}
	if l.isDead() { // also if it died of something else meanwhile
		return errDead
	}
	return err
}

// die ends the life now.
func (l *life) die() {
	l.mu.Lock()
	l.dead = true
	conns := l.conns
	l.mu.Unlock()
	for _, c := range conns {
		c.part(l.doom.manner)
	}
	l.cancel()
}

// closeOpen closes the connections that a dead program has left open.
func (l *life) closeOpen() {
	l.mu.Lock()
	conns := l.conns
	l.mu.Unlock()
	for _, c := range conns {
		c.Conn.Close()
	}
}

// chance is true once in n times.
func (l *life) chance(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unruly && l.rnd.IntN(n) == 0
}

func (l *life) pick(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rnd.IntN(n)
}

// take is act for a function with a result.
func take[T any](l *life, kind string, f func() (T, error)) (out T, err error) {
	err = l.act(kind, func() (err error) { out, err = f(); return err }, nil)
	return out, err
}
