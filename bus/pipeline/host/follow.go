package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/meta"
)

// prefix is that of Pipelines and their inputs in the store.
const prefix = meta.Down + wire.Pipelines

// header is what edgecore reads of a Pipeline.
type header struct {
	Metadata struct {
		Namespace  string `json:"namespace"`
		Name       string `json:"name"`
		UID        string `json:"uid"`
		Generation int64  `json:"generation"`
	} `json:"metadata"`
	Spec struct {
		Sources []struct {
			Name string `json:"name"`
			MQTT *struct {
				Topic string `json:"topic"`
			} `json:"mqtt"`
			Twin *struct {
				Selector *json.RawMessage `json:"selector"`
			} `json:"twin"`
		} `json:"sources"`
	} `json:"spec"`
}

// follow lists the node's Pipelines and then follows their changes. It returns when the watch
// ends.
func (h *Host) follow(ctx context.Context, w *worker) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := h.loadSessions(ctx); err != nil {
		return err
	}
	records, revision, err := h.cfg.Store.List(ctx, prefix)
	if err != nil {
		return err
	}
	h.mu.Lock()
	clear(h.pipelines)
	clear(h.inputs)
	for _, rec := range records {
		h.setLocked(rec)
	}
	h.changedLocked()
	h.mu.Unlock()
	if err := h.removeReports(ctx); err != nil {
		return err
	}
	events, err := h.cfg.Store.Watch(ctx, prefix, revision)
	if err != nil {
		return err
	}
	w.adjust(ctx)
	defer w.stop()
	clean := time.NewTimer(0) // sessions and queues of what is gone
	defer clean.Stop()
	for {
		select {
		case batch, ok := <-events:
			if !ok {
				return errors.New("the watch has ended")
			}
			if h.apply(ctx, batch) {
				clean.Reset(cleanAfter)
				w.adjust(ctx)
			}
		case <-clean.C:
			if !h.clean(ctx) {
				clean.Reset(cleanAgain)
			}
		}
	}
}

// Sessions and queues of Pipelines that are gone are removed when edgepipe has stopped to use
// them; if something of them is left, later again.
const (
	cleanAfter = 5 * time.Second
	cleanAgain = time.Minute
)

// apply follows changes of the store and reports whether the Set changed.
func (h *Host) apply(ctx context.Context, batch []meta.Event) (changed bool) {
	var gone []meta.Key
	h.mu.Lock()
	for _, e := range batch {
		if !e.Deleted {
			changed = h.setLocked(e.Record) || changed
			continue
		}
		key, ok := meta.ParsePath(strings.TrimPrefix(e.Key, meta.Down))
		switch {
		case !ok:
		case key.Resource == wire.Pipelines:
			delete(h.pipelines, key)
			delete(h.statuses, key)
			delete(h.reported, key)
			gone, changed = append(gone, key), true
		case key.Resource == wire.Inputs:
			delete(h.inputs, key)
			changed = true
		}
	}
	if changed {
		h.changedLocked()
	}
	h.mu.Unlock()
	for _, key := range gone {
		h.removeReport(ctx, key)
	}
	h.notify()
	return changed
}

// changedLocked decides which Pipelines run and gives edgepipe the new Set. It needs mu.
func (h *Host) changedLocked() {
	for i, key := range sortedKeys(h.pipelines) {
		h.pipelines[key].tooMany = i >= MaxPipelines
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

// setLocked notes a stored Pipeline or input, and reports whether it changed. One that cannot
// be read is logged and keeps its former form. It needs mu.
func (h *Host) setLocked(rec meta.Record) (changed bool) {
	o, err := meta.DecodeObject(meta.Down, rec)
	if err != nil {
		h.log.Warn("a stored pipeline cannot be read", "key", rec.Key, "err", err)
		return false
	}
	switch o.Key.Resource {
	case wire.Pipelines:
		var head header
		if err := json.Unmarshal(o.Body, &head); err != nil || head.Metadata.Name != o.Key.Name || head.Metadata.Namespace != o.Key.Namespace {
			h.log.Warn("a pipeline cannot be read; its former form goes on", "pipeline", o.Key.String(), "err", err)
			return false
		}
		next := &item{raw: bytes.Clone(o.Body), uid: head.Metadata.UID, generation: head.Metadata.Generation}
		for _, s := range head.Spec.Sources {
			next.selects = next.selects || s.Twin != nil && s.Twin.Selector != nil
			if s.MQTT != nil {
				next.sessions = append(next.sessions, wire.SessionID("", o.Key.Namespace+"/"+o.Key.Name+"/"+s.Name, s.MQTT.Topic))
			}
		}
		old := h.pipelines[o.Key]
		h.pipelines[o.Key] = next
		return old == nil || !bytes.Equal(old.raw, next.raw)
	case wire.Inputs:
		kind, name, ok := wire.ParseInputName(o.Key.Name)
		in := wire.NamedInput{Namespace: o.Key.Namespace, Kind: kind, Name: name}
		if err := json.Unmarshal(o.Body, &in.Input); err != nil || !ok {
			h.log.Warn("what a pipeline names cannot be read; its former form stays", "object", o.Key.String(), "err", err)
			return false
		}
		h.inputs[o.Key] = in
		return true
	}
	return false
}

// removeReports removes the reports of Pipelines that went while edgecore did not run.
func (h *Host) removeReports(ctx context.Context) error {
	records, _, err := h.cfg.Store.Keys(ctx, meta.Up+wire.ReportsPath)
	if err != nil {
		return err
	}
	for _, rec := range records {
		key, ok := meta.ParsePath(strings.TrimPrefix(rec.Key, meta.Up))
		key.Resource = wire.Pipelines
		h.mu.Lock()
		wanted := h.pipelines[key] != nil
		h.mu.Unlock()
		if ok && !wanted {
			h.removeReport(ctx, key)
		}
	}
	return nil
}

// removeReport takes back the report of a Pipeline that is gone.
func (h *Host) removeReport(ctx context.Context, key meta.Key) {
	key.Resource = wire.Reports
	if err := h.cfg.Reporter.Delete(ctx, meta.Object{Key: key}); err != nil && ctx.Err() == nil {
		h.log.Warn("the report of a removed pipeline stays until edgecore starts again", "pipeline", key.String(), "err", err)
	}
}

// loadSessions reads which sessions earlier runs had.
func (h *Host) loadSessions(ctx context.Context) error {
	records, _, err := h.cfg.Store.Keys(ctx, sessionArea)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, rec := range records {
		h.sessions[strings.TrimPrefix(rec.Key, sessionArea)] = struct{}{}
	}
	return nil
}

// clean records the sessions of all sources, and removes sessions and queues of what is gone.
// It reports whether nothing is left to remove.
func (h *Host) clean(ctx context.Context) bool {
	wanted := make(map[string]bool)
	var ops []meta.Op
	var gone []string
	h.mu.Lock()
	for _, p := range h.pipelines {
		for _, name := range p.sessions {
			wanted[name] = true
			if _, known := h.sessions[name]; !known {
				h.sessions[name] = struct{}{}
				ops = append(ops, meta.Op{Key: sessionArea + name})
			}
		}
	}
	for name := range h.sessions {
		if !wanted[name] {
			gone = append(gone, name)
		}
	}
	h.mu.Unlock()
	done := true
	for _, name := range gone {
		if h.cfg.EndSession != nil {
			if err := h.cfg.EndSession(ctx, h.cfg.MQTT.Session+name); err != nil {
				h.log.Warn("the MQTT session of a removed source is ended later", "source", name, "err", err)
				done = false
				break // each try may take long, and changes of Pipelines wait meanwhile
			}
		}
		ops = append(ops, meta.Op{Key: sessionArea + name, Delete: true})
		h.mu.Lock()
		delete(h.sessions, name)
		h.mu.Unlock()
	}
	if _, err := h.cfg.Store.Apply(ctx, ops...); err != nil {
		h.log.Warn("names of MQTT sessions cannot be stored", "err", err)
	}
	return h.cleanQueues(ctx) && done
}

// removeData removes what edgepipe stored, once the last Pipeline is gone and edgepipe has ended:
// it removes what is left of a Pipeline itself only while it has others to run. A Pipeline of the
// same name that comes later starts afresh.
func (h *Host) removeData() {
	for _, name := range []string{wire.Store, wire.State} {
		if err := os.RemoveAll(filepath.Join(h.cfg.Folder, name)); err != nil {
			h.log.Warn("what pipelines stored is left behind: it may be removed by hand while the node has none", "err", err)
		}
	}
}

// cleanQueues forgets the empty queues of Pipelines that are gone. One with events stays: the
// cloud may have taken the Pipeline away for a moment only, and refuses the events if it is
// gone for good.
func (h *Host) cleanQueues(ctx context.Context) bool {
	names, err := h.queues.Names(ctx)
	if err != nil {
		return false
	}
	done := true
	for _, name := range names {
		namespace, rest, _ := strings.Cut(name, "/")
		pipeline, _, _ := strings.Cut(rest, "/")
		h.mu.Lock()
		used := h.pipelines[meta.Key{Resource: wire.Pipelines, Namespace: namespace, Name: pipeline}] != nil
		h.mu.Unlock()
		if used {
			continue
		}
		events, _, err := h.queues.Waiting(ctx, name)
		if err == nil && events == 0 {
			err = h.queues.Remove(ctx, name)
		}
		done = done && err == nil && events == 0
	}
	return done
}
