package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/edgekit/edgekit/twin"
)

const (
	commentEvery = 15 * time.Second       // without an event
	writeTime    = 30 * time.Second       // for one event
	leastEvery   = 100 * time.Millisecond // of samples and heartbeats
	maxFilters   = 64                     // devices, and properties, that a watch names
)

// watchOptions reads the parameters of a watch. since is Last-Event-ID; 0 if there is none.
func watchOptions(query url.Values, lastEvent string) (o twin.WatchOptions, since int64, err error) {
	o = twin.WatchOptions{
		Devices: query["device"], Namespace: query.Get("namespace"), Properties: query["property"],
		SuppressEqual: query.Get("equal") == "false", Current: query.Get("current") != "false",
	}
	if len(o.Devices) > maxFilters || len(o.Properties) > maxFilters {
		return o, 0, invalid("a watch names at most %d devices and %d properties: leave them out to get all", maxFilters, maxFilters)
	}
	for _, id := range o.Devices {
		if err := twin.CheckID(id); err != nil {
			return o, 0, invalid("parameter device: %v", err)
		}
	}
	for _, name := range o.Properties {
		if err := twin.CheckName(name); err != nil {
			return o, 0, invalid("parameter property: %v", err)
		}
	}
	for name, into := range map[string]*time.Duration{"every": &o.Every, "heartbeat": &o.Heartbeat} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		if *into, err = time.ParseDuration(text); err != nil || *into < leastEvery {
			return o, 0, invalid("parameter %s is %.40q: it must be a duration of at least %v, for example 10s", name, text, leastEvery)
		}
	}
	if lastEvent != "" {
		if since, err = strconv.ParseInt(lastEvent, 10, 64); err != nil || since < 0 {
			return o, 0, invalid("Last-Event-ID is %.40q: it must be the id of an event", lastEvent)
		}
		o.Current = true
	}
	return o, since, nil
}

// watch sends server-sent events until the client or the engine is gone.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request) error {
	o, since, err := watchOptions(r.URL.Query(), r.Header.Get("Last-Event-ID"))
	if err != nil {
		return err
	}
	for _, id := range o.Devices {
		if err := h.authorize(r, id, Read); err != nil {
			return err
		}
	}
	watcher, err := h.cfg.Engine.Watch(o)
	if err != nil {
		return err
	}
	defer watcher.Close()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s := &stream{w: w, control: http.NewResponseController(w)}
	_ = s.send(": watching\n\n")
	began := h.cfg.Now()
	for {
		ctx, cancel := context.WithTimeout(r.Context(), commentEvery)
		c, err := watcher.Next(ctx)
		cancel()
		switch {
		case err != nil && r.Context().Err() != nil, errors.Is(err, twin.ErrClosed):
			return nil
		case err != nil: // nothing happens
			err = s.send(": nothing has changed\n\n")
		case since > 0 && !c.Time.After(began) && unchanged(c, since):
		case h.authorize(r, c.Property.Device, Read) != nil: // also when the right was withdrawn
		default:
			err = s.send(event(c))
		}
		if err != nil {
			return nil // the client does not read any more
		}
	}
}

// unchanged reports whether a property is as it was at a time in milliseconds.
func unchanged(c twin.Change, since int64) bool {
	t := c.Property.Twin
	return c.Property.Name != "" && (t.Expected == nil || t.Expected.Time < since) && (t.Actual == nil || t.Actual.Time < since)
}

// event returns the text of a server-sent event.
func event(c twin.Change) string {
	form := Change{Device: c.Property.Device, Property: c.Property.Name, Missed: c.Missed, Repeated: c.Repeated}
	name := "property"
	switch {
	case c.Gone:
		name = "removed"
	case form.Property == "":
		name, form.State = "device", c.State
	case c.Property.Twin.Deleted:
		name = "deleted"
	default:
		p := propertyForm(c.Property)
		form.Type, form.Desired, form.Actual = p.Type, p.Desired, p.Actual
	}
	data, err := json.Marshal(form)
	if err != nil {
		data = []byte("{}") // texts and numbers always have a JSON form
	}
	return fmt.Sprintf("event: %s\nid: %d\ndata: %s\n\n", name, c.Time.UnixMilli(), data)
}

// stream writes to a client that must read.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s *stream) send(text string) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTime)) // not every ResponseWriter has deadlines
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}
