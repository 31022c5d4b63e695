package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/eclipse/paho.golang/packets"
)

// Received remembers which messages of QoS 2 the program has, from before PUBREC to PUBCOMP, so
// that one that the broker sends again after the program was killed is not delivered twice. It is
// for one broker and one client identifier. bus/metastore.Received keeps it in a meta.Store.
type Received interface {
	// Load returns the sum of each packet identifier that was put and not removed.
	Load(ctx context.Context) (map[uint16][]byte, error)
	// Put remembers a packet identifier with a sum of its message. It returns when both are on
	// the disk.
	Put(ctx context.Context, id uint16, sum []byte) error
	// Remove forgets identifiers. It returns when that is on the disk.
	Remove(ctx context.Context, ids ...uint16) error
}

// inbound keeps Received in step with paho's session. A nil inbound does nothing.
//
// The order is: the message is delivered, its identifier is on the disk, PUBREC is sent; PUBREL
// comes, the identifier is off the disk, PUBCOMP is sent. So the broker uses no identifier anew
// that is still on the disk.
type inbound struct {
	store Received
	log   *slog.Logger

	mu     sync.Mutex
	bound  func() context.Context // Run's
	sums   map[uint16][]byte
	failed bool // a failure was logged
}

func newInbound(store Received, log *slog.Logger) *inbound {
	if store == nil {
		return nil
	}
	return &inbound{store: store, log: log, sums: make(map[uint16][]byte)}
}

// load reads what the last run has left.
func (i *inbound) load(ctx context.Context) error {
	if i == nil {
		return nil
	}
	sums, err := i.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("bus/client: Config.Received: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.bound = func() context.Context { return ctx }
	maps.Copy(i.sums, sums)
	return nil
}

// put remembers a message that was delivered. It reports whether PUBREC is to be sent: not when
// Run has ended, since the handler may not have taken the message. If the store fails, PUBREC is
// sent all the same: a broker that waits for too many answers sends nothing more.
func (i *inbound) put(p *packets.Publish) bool {
	if i == nil || p.QoS != 2 {
		return true
	}
	sum := sumOf(p)
	if !i.write(func(ctx context.Context) error { return i.store.Put(ctx, p.PacketID, sum) }) {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sums[p.PacketID] = sum
	return true
}

// remove forgets a message that the broker has released. It reports whether PUBCOMP is to be sent.
func (i *inbound) remove(id uint16) bool {
	if i == nil || !i.has(id) {
		return true
	}
	if !i.write(func(ctx context.Context) error { return i.store.Remove(ctx, id) }) {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.sums, id)
	return true
}

func (i *inbound) has(id uint16) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, ok := i.sums[id]
	return ok
}

// compare clears the duplicate flag of a message that is not the one which is known by its packet
// identifier: what is on the disk may be older than the broker's session, for example after a
// restore of a backup.
func (i *inbound) compare(p *packets.Publish) {
	if i == nil || p.QoS != 2 || !p.Duplicate {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if sum, ok := i.sums[p.PacketID]; ok && !bytes.Equal(sum, sumOf(p)) {
		p.Duplicate = false
	}
}

// write changes the store. It reports false if Run has ended meanwhile.
func (i *inbound) write(change func(ctx context.Context) error) bool {
	i.mu.Lock()
	ctx := i.bound()
	i.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	err := change(ctx)
	if err == nil {
		return true
	}
	if ctx.Err() != nil {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.failed {
		i.failed = true
		i.log.Error("identifiers of MQTT messages of QoS 2 cannot be stored: these messages may come twice after a restart", "err", err)
	}
	return true
}

// sumOf tells two messages apart.
func sumOf(p *packets.Publish) []byte {
	sum := sha256.New()
	sum.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p.Topic))))
	sum.Write([]byte(p.Topic))
	sum.Write(p.Payload)
	return sum.Sum(nil)[:16]
}

// serverStore is inbound as paho's store of what the broker has sent. memory has done what Put and
// Delete would do, at the moment at which it must be done.
type serverStore struct{ *inbound }

func (serverStore) Put(uint16, byte, io.WriterTo) error { return nil }
func (serverStore) Delete(uint16) error                 { return nil }
func (serverStore) Quarantine(uint16) error             { return nil }

// Get returns the beginning of PUBREC, which is all that paho reads.
func (serverStore) Get(uint16) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader([]byte{packets.PUBREC << 4, 0})), nil
}

// List returns the identifiers that are known.
func (s serverStore) List() ([]uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.sums)), nil
}

// Reset forgets all: the broker has begun a new session.
func (s serverStore) Reset() error {
	ids, _ := s.List()
	if len(ids) == 0 || !s.write(func(ctx context.Context) error { return s.store.Remove(ctx, ids...) }) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sums)
	return nil
}
