package jointest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// TokensSuite gives RunTokens an implementation of join.Tokens.
type TokensSuite struct {
	// Open makes an empty store; it is closed with t's cleanups.
	Open func(t *testing.T) join.Tokens
	// Create stores a token, as an operator does, in a store that Open made. The token
	// is for those nodes and expires after life.
	Create func(ctx context.Context, s join.Tokens, nodes string, life time.Duration) (join.Token, error)
}

// RunTokens holds a store to the contract of join.Tokens: a token is read as it was
// created, only one key ever uses it, that key may repeat, and a token that does not
// exist is a join.ErrTokenInvalid.
func RunTokens(t *testing.T, s TokensSuite) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, TokensSuite, join.Tokens)
	}{
		{"Read", tokenRead}, {"Unknown", tokenUnknown}, {"SingleUse", tokenSingleUse},
		{"Independent", tokenIndependent}, {"OneKeyWins", inRounds(tokenOneKeyWins)}, {"RepeatsAtOnce", inRounds(tokenRepeatsAtOnce)},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, s, s.Open(t)) })
	}
}

func (s TokensSuite) create(t *testing.T, store join.Tokens, nodes string) join.Token {
	t.Helper()
	token, err := s.Create(t.Context(), store, nodes, time.Hour)
	if err != nil {
		t.Fatalf("create a token for %q: %v", nodes, err)
	}
	return token
}

// tokenRead: a new token is unused, and its record has what it was created with.
// The store may cut the time to the second.
func tokenRead(t *testing.T, s TokensSuite, store join.Tokens) {
	for _, life := range []time.Duration{time.Minute, 1000 * time.Hour} {
		before := time.Now()
		token, err := s.Create(t.Context(), store, "edge-*", life)
		if err != nil {
			t.Fatal(err)
		}
		after := time.Now()
		r := readToken(t, store, token.ID)
		if r.Expires.Before(before.Add(life-time.Second)) || r.Expires.After(after.Add(life+time.Second)) {
			t.Errorf("expires at %s, want %s after %s", r.Expires, life, before)
		}
		if want := token.Record("edge-*", r.Expires); r != want {
			t.Errorf("record %+v, want %+v", r, want)
		}
	}
}

// tokenUnknown: an ID may be whatever a peer sends.
func tokenUnknown(t *testing.T, s TokensSuite, store join.Tokens) {
	token := s.create(t, store, "edge-1")
	for _, id := range []string{"", "none", "../" + token.ID, token.ID + "/", token.ID + "x", strings.ToUpper(token.ID) + "-", strings.Repeat("a", 300)} {
		if r, err := store.Token(t.Context(), id); !errors.Is(err, join.ErrTokenInvalid) {
			t.Errorf("Token(%q) = %+v, %v, want ErrTokenInvalid", id, r, err)
		}
		if err := store.Use(t.Context(), id, "edge-1", keyHash(1)); !errors.Is(err, join.ErrTokenInvalid) {
			t.Errorf("Use(%q) = %v, want ErrTokenInvalid", id, err)
		}
	}
	if r := readToken(t, store, token.ID); r.UsedBy != "" {
		t.Errorf("the token was used by %q", r.UsedBy)
	}
}

// tokenSingleUse: the key and node that used a token may use it again; no others may.
func tokenSingleUse(t *testing.T, s TokensSuite, store join.Tokens) {
	id := s.create(t, store, "edge-*").ID
	for _, tt := range []struct {
		name, node, key string
		want            error
	}{
		{"first use", "edge-1", keyHash(1), nil},
		{"same key and node", "edge-1", keyHash(1), nil},
		{"another key", "edge-1", keyHash(2), join.ErrTokenUsed},
		{"another node", "edge-2", keyHash(1), join.ErrTokenUsed},
		{"another key and node", "edge-2", keyHash(2), join.ErrTokenUsed},
		{"same key and node after others", "edge-1", keyHash(1), nil},
	} {
		if err := store.Use(t.Context(), id, tt.node, tt.key); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		r := readToken(t, store, id)
		if r.UsedBy != keyHash(1) || r.UsedFor != "edge-1" || r.UsedAt.IsZero() {
			t.Errorf("%s: the record has key %q, node %q, time %s", tt.name, r.UsedBy, r.UsedFor, r.UsedAt)
		}
	}
}

// tokenIndependent: using one token leaves others as they are, also for the same key.
func tokenIndependent(t *testing.T, s TokensSuite, store join.Tokens) {
	first, second := s.create(t, store, "edge-*").ID, s.create(t, store, "edge-*").ID
	if err := store.Use(t.Context(), first, "edge-1", keyHash(1)); err != nil {
		t.Fatal(err)
	}
	if r := readToken(t, store, second); r.UsedBy != "" || r.UsedFor != "" {
		t.Errorf("a token that was not used: %+v", r)
	}
	if err := store.Use(t.Context(), second, "edge-1", keyHash(1)); err != nil {
		t.Errorf("second token: %v", err)
	}
}

// tokenOneKeyWins: of keys that use a token at the same time, one succeeds.
func tokenOneKeyWins(t *testing.T, s TokensSuite, store join.Tokens) {
	id := s.create(t, store, "edge-*").ID
	winners := 0
	for i, err := range atOnce(func(i int) error { return store.Use(t.Context(), id, fmt.Sprintf("edge-%d", i), keyHash(i)) }) {
		switch {
		case err == nil:
			winners++
			if r := readToken(t, store, id); r.UsedBy != keyHash(i) || r.UsedFor != fmt.Sprintf("edge-%d", i) {
				t.Errorf("key %d succeeded, but the record has %+v", i, r)
			}
		case !errors.Is(err, join.ErrTokenUsed):
			t.Errorf("key %d: %v, want ErrTokenUsed", i, err)
		}
	}
	if winners != 1 {
		t.Errorf("%d keys used the token, want 1", winners)
	}
}

// tokenRepeatsAtOnce: a machine that repeats its join does not compete with itself.
func tokenRepeatsAtOnce(t *testing.T, s TokensSuite, store join.Tokens) {
	id := s.create(t, store, "edge-1").ID
	for _, err := range atOnce(func(int) error { return store.Use(t.Context(), id, "edge-1", keyHash(1)) }) {
		if err != nil {
			t.Errorf("same key and node: %v", err)
		}
	}
}

func readToken(t *testing.T, store join.Tokens, id string) join.Record {
	t.Helper()
	r, err := store.Token(t.Context(), id)
	if err != nil {
		t.Fatalf("read token %s: %v", id, err)
	}
	return r
}

// keyHash returns the n-th key hash, in the form of join.KeyHash.
func keyHash(n int) string { return fmt.Sprintf("%064x", n+1) }

// rounds is how often a test of concurrent callers runs: only in some rounds do they
// collide.
const rounds = 25

// inRounds repeats a test of tokens, which makes a token of its own.
func inRounds(test func(*testing.T, TokensSuite, join.Tokens)) func(*testing.T, TokensSuite, join.Tokens) {
	return func(t *testing.T, s TokensSuite, store join.Tokens) {
		for range rounds {
			test(t, s, store)
		}
	}
}

// contenders is how many callers atOnce has. A store that retries lost races needs at
// most as many tries.
const contenders = 4

// atOnce calls do from several goroutines at once and gives the error of each.
func atOnce(do func(i int) error) []error {
	errs := make([]error, contenders)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			<-start
			errs[i] = do(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}
