package dmi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/device/dmi/internal/socket"
	"github.com/edgekit/edgekit/device/dmi/v1beta1"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// The records of the store:
//
//	local/dmi/mapper/<mapper>                       its Info
//	local/dmi/given/<mapper>/<namespace>/<name>     the digest of what the mapper was given
const (
	area       = meta.Local + "dmi/"
	mapperArea = area + "mapper/"
	givenArea  = area + "given/"
)

// batch is how many records are written in one step.
const batch = 200

// info is what is known of a mapper over restarts.
type info struct {
	Name       string `json:"name"`
	Version    string `json:"version,omitempty"`
	APIVersion string `json:"apiVersion,omitempty"`
	Protocol   string `json:"protocol"`
	Socket     string `json:"socket"`
	UID        int64  `json:"uid"` // user who registered it; -1 if that is not known
	Edgekit    bool   `json:"edgekit,omitempty"`
}

// check refuses a process that took over the socket of a mapper of another user.
func (i info) check(p socket.Peer) error {
	if p.Known && i.UID >= 0 && p.UID != 0 && int64(p.UID) != i.UID {
		return fmt.Errorf("device/dmi: the process at %s has user %d; mapper %s was registered by user %d", i.Socket, p.UID, i.Name, i.UID)
	}
	return nil
}

// infoOf checks what a mapper says of itself. The errors name the field and the remedy.
func infoOf(r *v1beta1.MapperInfo, who socket.Peer) (info, error) {
	if r == nil {
		return info{}, errors.New("mapper is missing: give its name, protocol and address")
	}
	for _, f := range []struct{ field, value string }{{"name", r.Name}, {"protocol", r.Protocol}} {
		if f.value == "" || len(f.value) > 128 || strings.ContainsFunc(f.value, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return info{}, fmt.Errorf("mapper.%s is %.130q: use 1 to 128 characters that can be printed", f.field, f.value)
		}
	}
	if strings.Contains(r.Name, "/") {
		return info{}, fmt.Errorf("mapper.name is %q: use a name without slashes", r.Name)
	}
	path, err := socket.Path(string(r.Address))
	if err != nil {
		return info{}, fmt.Errorf("mapper.address: %w", err)
	}
	i := info{Name: r.Name, Version: r.Version, APIVersion: r.APIVersion, Protocol: r.Protocol, Socket: path, UID: -1, Edgekit: r.Edgekit}
	if len(i.Version) > 128 || len(i.APIVersion) > 128 {
		return info{}, errors.New("mapper.version and api_version: use at most 128 characters")
	}
	if who.Known {
		i.UID = int64(who.UID)
	}
	return i, nil
}

// load reads the mappers and all devices.
func (m *Manager) load(ctx context.Context) error {
	mappers, _, err := m.cfg.Store.List(ctx, mapperArea)
	if err != nil {
		return fmt.Errorf("read mappers: %w", err)
	}
	given, _, err := m.cfg.Store.List(ctx, givenArea)
	if err != nil {
		return fmt.Errorf("read the devices of mappers: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range mappers {
		var i info
		if err := jsonlimit.Unmarshal(r.Value, &i); err != nil || mapperArea+i.Name != r.Key {
			m.log.Warn("record of a mapper is ignored; the mapper must register again", "key", r.Key, "err", err)
			continue
		}
		if m.mappers[i.Name] == nil {
			m.mappers[i.Name] = newMapper(m, i)
			m.mappers[i.Name].inherited = true
		}
	}
	for _, r := range given {
		name, id, _ := strings.Cut(strings.TrimPrefix(r.Key, givenArea), "/")
		p := m.mappers[name]
		digest, err := strconv.ParseUint(string(r.Value), 16, 64)
		if p == nil || err != nil {
			continue
		}
		p.loadLocked(id, digest)
		if m.owners[id] == nil {
			m.owners[id] = p
			p.devices++
		}
		m.pending[id] = struct{}{}
	}
	for _, p := range m.mappers {
		if p.inherited {
			m.claimFrom[p.info.Protocol] = time.Now().Add(restartPause)
		}
	}
	for _, d := range m.cfg.Engine.Devices() {
		m.pending[d.ID] = struct{}{}
	}
	close(m.loaded)
	return nil
}

// save makes a mapper durable.
func (m *Manager) save(ctx context.Context, i info) error {
	raw, err := json.Marshal(i)
	if err != nil {
		return err
	}
	_, err = m.cfg.Store.Apply(ctx, meta.Op{Key: mapperArea + i.Name, Value: raw})
	return err
}

// note stores what a mapper was given, or with digest 0 that this is not known. It is only there
// to save calls after a restart: when it fails, the next restart makes more.
func (m *Manager) note(ctx context.Context, mapper string, digests map[string]uint64) {
	ops := make([]meta.Op, 0, min(len(digests), batch))
	write := func() {
		if _, err := m.cfg.Store.Apply(ctx, ops...); err != nil && ctx.Err() == nil {
			m.log.Debug("what a mapper was given is not stored", "mapper", mapper, "err", err)
		}
		ops = ops[:0]
	}
	for id, digest := range digests {
		key := givenArea + mapper + "/" + id
		ops = append(ops, meta.Op{Key: key, Value: strconv.AppendUint(nil, digest, 16), Delete: digest == 0})
		if len(ops) == batch {
			write()
		}
	}
	if len(ops) > 0 {
		write()
	}
}

// forgetLocked drops the mapper that is away for the longest time, with its records.
func (m *Manager) forgetLocked() (info, bool) {
	var oldest *mapper
	for _, p := range m.mappers {
		if !p.connected && (oldest == nil || p.since.Before(oldest.since)) {
			oldest = p
		}
	}
	if oldest == nil || time.Since(oldest.since) < m.cfg.Grace {
		return info{}, false
	}
	delete(m.mappers, oldest.info.Name)
	oldest.endLocked()
	for id, p := range m.owners {
		if p == oldest {
			m.pending[id] = struct{}{}
		}
	}
	return oldest.info, true
}

// forget removes the records of a mapper.
func (m *Manager) forget(ctx context.Context, name string) {
	ops := []meta.Op{{Key: mapperArea + name, Delete: true}}
	keys, _, err := m.cfg.Store.Keys(ctx, givenArea+name+"/")
	for _, k := range keys {
		ops = append(ops, meta.Op{Key: k.Key, Delete: true})
	}
	for len(ops) > 0 && err == nil {
		n := min(len(ops), batch)
		_, err = m.cfg.Store.Apply(ctx, ops[:n]...)
		ops = ops[n:]
	}
	if err != nil && ctx.Err() == nil {
		m.log.Warn("records of a mapper that was forgotten stay in the store", "mapper", name, "err", err)
	}
}
