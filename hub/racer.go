package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub/internal/race"
)

const (
	defaultHeadStart = 250 * time.Millisecond
	defaultRemember  = time.Hour
)

// Lane is one way to the cloud that takes part in a race.
type Lane struct {
	Name   string // for logs and errors, such as "quic"
	Dialer Dialer
}

// RaceConfig sets up a Racer. Only Lanes is required.
type RaceConfig struct {
	// Lanes are the ways to the cloud, the best one first. Their names differ.
	Lanes []Lane
	// HeadStart is how long a lane dials alone before the next one starts too. 0 means
	// 250 ms.
	HeadStart time.Duration
	// Remember is how long a winner that is not the first of Lanes is tried first. 0
	// means one hour.
	Remember time.Duration
	Logger   *slog.Logger // nil discards
}

// Racer is a Dialer that tries several ways to the cloud and uses the first connection: for
// example QUIC with a head start before WebSocket, which works where UDP is blocked. The
// lanes start one after the other, each when the one before has failed or its head start is
// over. A lane that failed starts again every second while another is still dialling, because
// a cloud that comes back is reached sooner than a blocked lane times out. The winner is tried
// first in the next races, until another lane wins or Remember is over; then the order of
// Lanes counts again.
//
// A lane has won when its Dial returned a connection. A later failure of the connection does
// not count against its lane.
//
// All methods may be called by several goroutines at once.
type Racer struct {
	cfg RaceConfig
	log *slog.Logger

	mu     sync.Mutex
	winner race.Winner
}

// NewRacer checks cfg and makes a Racer.
func NewRacer(cfg RaceConfig) (*Racer, error) {
	if len(cfg.Lanes) == 0 {
		return nil, errors.New("hub: RaceConfig.Lanes is required: name at least one way to the cloud")
	}
	if cfg.HeadStart < 0 || cfg.Remember < 0 {
		return nil, errors.New("hub: a duration in RaceConfig is negative: leave it 0 for the default")
	}
	cfg.Lanes = append([]Lane(nil), cfg.Lanes...)
	names := make(map[string]bool)
	for i, l := range cfg.Lanes {
		switch {
		case l.Name == "" || names[l.Name]:
			return nil, fmt.Errorf("hub: RaceConfig.Lanes[%d].Name %q: each lane needs a name of its own", i, l.Name)
		case l.Dialer == nil:
			return nil, fmt.Errorf("hub: RaceConfig.Lanes[%d].Dialer is required", i)
		}
		names[l.Name] = true
	}
	cfg.HeadStart = orDefault(cfg.HeadStart, defaultHeadStart)
	cfg.Remember = orDefault(cfg.Remember, defaultRemember)
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Racer{cfg: cfg, log: log}, nil
}

// finish is the result of a lane.
type finish struct {
	lane int
	conn Conn
	err  error
}

// Dial runs one race and returns the first connection. The other lanes are cancelled; a
// connection that they still return is closed, and closing the winner waits for them. If all
// lanes fail, Dial returns their errors, joined in the order in which they failed.
func (r *Racer) Dial(ctx context.Context) (Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // cancels the lanes that are still dialling
	r.mu.Lock()
	rc := race.New(r.winner.Order(time.Now(), len(r.cfg.Lanes)))
	r.mu.Unlock()
	finishes := make(chan finish, len(r.cfg.Lanes)) // a lane never blocks at its end
	var running sync.WaitGroup
	headStart := time.NewTimer(0)
	defer headStart.Stop()
	failed := make(failures, 0, len(r.cfg.Lanes))
	for {
		select {
		case <-headStart.C:
			if lane, ok := rc.Start(); ok {
				if d, ok := rc.Next(r.cfg.HeadStart); ok {
					headStart.Reset(d)
				}
				running.Go(func() {
					conn, err := r.cfg.Lanes[lane].Dialer.Dial(ctx)
					finishes <- finish{lane, conn, err}
				})
			}
		case f := <-finishes:
			under := rc.Finish()
			if f.err == nil {
				r.remember(f.lane, failed.join())
				running.Go(func() { closeLosers(finishes, under) })
				return &winner{Conn: f.conn, losers: &running}, nil
			}
			failed = failed.add(f.lane, fmt.Errorf("%s: %w", r.cfg.Lanes[f.lane].Name, f.err))
			_, answered := errors.AsType[*Error](f.err)
			rc.Failed(f.lane, answered)
			if rc.Lost(ctx.Err() != nil) {
				return nil, fmt.Errorf("hub: no way to the cloud: %w", failed.join())
			}
			if d, ok := rc.Next(0); ok && ctx.Err() == nil {
				headStart.Reset(d)
			}
		}
	}
}

// failures are the last one of each lane, in the order in which they came.
type failures []failure

type failure struct {
	lane int
	err  error
}

func (all failures) add(lane int, err error) failures {
	all = slices.DeleteFunc(all, func(f failure) bool { return f.lane == lane })
	return append(all, failure{lane, err})
}

func (all failures) join() error {
	errs := make([]error, 0, len(all))
	for _, f := range all {
		errs = append(errs, f.err)
	}
	return errors.Join(errs...)
}

// closeLosers waits for the lanes that are still dialling.
func closeLosers(finishes <-chan finish, under int) {
	for range under {
		if f := <-finishes; f.err == nil {
			f.conn.Close()
		}
	}
}

func (r *Racer) remember(lane int, failed error) {
	r.mu.Lock()
	before := r.winner
	r.winner = before.Won(lane, time.Now(), r.cfg.Remember)
	after := r.winner
	r.mu.Unlock()
	if before.Lane != after.Lane {
		r.log.Info("another way to the cloud won", "way", r.cfg.Lanes[lane].Name, "failed", failed)
	}
}

// winner is the connection that won a race.
type winner struct {
	Conn
	losers *sync.WaitGroup
}

// LastRead is the connection's own, or zero if it has none.
func (w *winner) LastRead() time.Time {
	if c, ok := w.Conn.(LastReader); ok {
		return c.LastRead()
	}
	return time.Time{}
}

// Close closes the connection and waits until the losers are closed.
func (w *winner) Close() error {
	err := w.Conn.Close()
	w.losers.Wait()
	return err
}
