package main

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// answerer answers requests without a network.
type answerer func(*http.Request) (status int)

func (a answerer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a(r), Status: "status", Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// idsOf reads the ids of the events of a batch.
func idsOf(t *testing.T, r *http.Request) (ids []string) {
	t.Helper()
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if text[0] != '[' {
		text = slices.Concat([]byte("["), text, []byte("]"))
	}
	var list []struct{ ID string }
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		ids = append(ids, e.ID)
	}
	return ids
}

// noise is text of a size that is hardly compressed, another one for each seed.
func noise(size int, seed byte) string {
	b := make([]byte, size*3/4)
	source := rand.NewChaCha8([32]byte{seed})
	_, _ = source.Read(b) // it never fails
	return base64.StdEncoding.EncodeToString(b)
}

// TestCloudSendsPart: of a batch that goes in halves, since it is too large for the link, the error says
// what edgecore has: that is not sent again.
func TestCloudSendsPart(t *testing.T) {
	var stored []string
	full := true
	h := &host{log: slog.New(slog.DiscardHandler), maxBody: 3000, client: &http.Client{Transport: answerer(func(r *http.Request) int {
		ids := idsOf(t, r)
		if full && ids[0] == "1" {
			return http.StatusInternalServerError
		}
		stored = append(stored, ids...)
		return http.StatusNoContent
	})}}
	var events []pipeline.Event
	for i := range 2 { // one of them fits, both do not
		events = append(events, pipeline.Event{ID: fmt.Sprint(i), Source: "s", Type: "t", Data: noise(3000*3/4, byte(i))})
	}
	send := func(events []pipeline.Event) error {
		return cloud{h}.Send(t.Context(), pipeline.Ref{Namespace: "plant", Name: "p"}, "up", "https://example.com/in", events)
	}
	err := send(events)
	sent, ok := errors.AsType[*pipeline.SentError](err)
	if !ok || sent.Sent != 1 || errors.Is(err, pipeline.ErrRefused) {
		t.Fatal(err)
	}
	full = false
	if err := send(events[sent.Sent:]); err != nil || !slices.Equal(stored, []string{"0", "1"}) {
		t.Errorf("%v, edgecore has %v", err, stored)
	}
}

// TestBehind: what was sent before is added to what was sent of a later part.
func TestBehind(t *testing.T) {
	if behind(4, nil) != nil {
		t.Error("an error of nothing")
	}
	for want, err := range map[int]error{
		4: errors.New("cut"),
		6: fmt.Errorf("send: %w", &pipeline.SentError{Sent: 2, Err: errors.New("cut")}),
		9: behind(4, behind(1, fmt.Errorf("%w: too large", pipeline.ErrRefused))),
	} {
		if want == 9 {
			err = behind(0, err)
		}
		sent, ok := errors.AsType[*pipeline.SentError](behind(4, err))
		if !ok || sent.Sent != want {
			t.Errorf("%v: %v, want %d sent", err, sent, want)
		}
		if errors.Is(sent, pipeline.ErrRefused) != (want == 9) {
			t.Errorf("%v: refused is lost, or made up", sent)
		}
	}
}
