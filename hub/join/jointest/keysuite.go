package jointest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/edgekit/edgekit/hub/join"
)

// NamesWithReplace is a join.Names that is a join.KeyReplacer.
type NamesWithReplace interface {
	join.Names
	join.KeyReplacer
}

// RunKeyReplacer holds a store to the contract of join.KeyReplacer: from Replace to
// Confirm two keys have a name, and only a key that has the name is replaced. open makes
// an empty store, which is closed with t's cleanups.
func RunKeyReplacer(t *testing.T, open func(t *testing.T) NamesWithReplace) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, NamesWithReplace)
	}{
		{"Replace", keyReplace}, {"Confirm", keyConfirm}, {"AnswerLost", keyAnswerLost},
		{"Identity", keyIdentity}, {"AtOnce", keyAtOnce},
	} {
		t.Run(tt.name, func(t *testing.T) {
			names := open(t)
			checkKeys(t, names)
			checkClaim(t, names, "edge-1", keyHash(1), true, nil)
			checkKeys(t, names, keyHash(1))
			tt.test(t, names)
		})
	}
}

// keyReplace: both keys have the name; the same Replace succeeds again.
func keyReplace(t *testing.T, names NamesWithReplace) {
	for range 2 {
		checkReplace(t, names, keyHash(1), keyHash(2), nil)
		checkKeys(t, names, keyHash(2), keyHash(1))
	}
	for _, key := range []string{keyHash(1), keyHash(2)} {
		checkClaim(t, names, "edge-1", key, false, nil)
	}
	checkClaim(t, names, "edge-1", keyHash(3), false, join.ErrNameInUse)
	checkHolder(t, names, "edge-1", keyHash(2))
}

// keyConfirm: only the newest key confirms, and may do so again.
func keyConfirm(t *testing.T, names NamesWithReplace) {
	checkConfirm(t, names, keyHash(1))
	checkKeys(t, names, keyHash(1))
	checkReplace(t, names, keyHash(1), keyHash(2), nil)
	for _, key := range []string{keyHash(1), keyHash(3)} {
		checkConfirm(t, names, key)
		checkKeys(t, names, keyHash(2), keyHash(1))
	}
	for range 2 {
		checkConfirm(t, names, keyHash(2))
		checkKeys(t, names, keyHash(2))
	}
	checkClaim(t, names, "edge-1", keyHash(1), false, join.ErrNameInUse)
}

// keyAnswerLost: a node without an answer renews again, with its old key or with the
// key that was to follow.
func keyAnswerLost(t *testing.T, names NamesWithReplace) {
	checkReplace(t, names, keyHash(1), keyHash(2), nil)
	checkReplace(t, names, keyHash(1), keyHash(3), nil)
	checkKeys(t, names, keyHash(3), keyHash(1))
	checkReplace(t, names, keyHash(3), keyHash(4), nil)
	checkKeys(t, names, keyHash(4), keyHash(3))
}

// keyIdentity: a key that does not have the name is not replaced.
func keyIdentity(t *testing.T, names NamesWithReplace) {
	checkReplace(t, names, keyHash(2), keyHash(3), join.ErrIdentity)
	checkKeys(t, names, keyHash(1))
	checkReplace(t, names, keyHash(1), keyHash(2), nil)
	checkConfirm(t, names, keyHash(2))
	checkReplace(t, names, keyHash(1), keyHash(3), join.ErrIdentity)
	checkKeys(t, names, keyHash(2))
	checkRelease(t, names, "edge-1", keyHash(2))
	checkReplace(t, names, keyHash(2), keyHash(3), join.ErrIdentity)
	checkKeys(t, names)
}

// keyAtOnce: each Replace is one step, so the old key is never lost.
func keyAtOnce(t *testing.T, names NamesWithReplace) {
	for range rounds {
		for i, err := range atOnce(func(i int) error { return names.Replace(t.Context(), "edge-1", keyHash(1), keyHash(10+i)) }) {
			if err != nil {
				t.Errorf("Replace %d: %v", i, err)
			}
		}
		keys, err := names.Keys(t.Context(), "edge-1")
		if err != nil || len(keys) != 2 || keys[0] < keyHash(10) || keys[0] >= keyHash(10+contenders) || keys[1] != keyHash(1) {
			t.Errorf("Keys = %v, %v, want one of the new keys and the old one", keys, err)
		}
	}
}

func checkReplace(t *testing.T, names NamesWithReplace, old, fresh string, want error) {
	t.Helper()
	if err := names.Replace(t.Context(), "edge-1", old, fresh); !errors.Is(err, want) {
		t.Errorf("Replace(%s, %s) = %v, want %v", old, fresh, err, want)
	}
}

func checkConfirm(t *testing.T, names NamesWithReplace, key string) {
	t.Helper()
	if err := names.Confirm(t.Context(), "edge-1", key); err != nil {
		t.Errorf("Confirm(%s): %v", key, err)
	}
}

func checkKeys(t *testing.T, names NamesWithReplace, want ...string) {
	t.Helper()
	if keys, err := names.Keys(t.Context(), "edge-1"); err != nil || !slices.Equal(keys, want) {
		t.Errorf("Keys = %v, %v, want %v", keys, err, want)
	}
}

// RevokedKeysSuite gives RunRevokedKeys an implementation of join.RevokedKeys.
type RevokedKeysSuite struct {
	// Open makes an empty store; it is closed with t's cleanups.
	Open func(t *testing.T) join.RevokedKeys
	// Revoke revokes a key, as an operator does, in a store that Open made.
	Revoke func(ctx context.Context, s join.RevokedKeys, keyHash string) error
}

// RunRevokedKeys holds a store to the contract of join.RevokedKeys: a key that was
// revoked is a join.ErrRevoked from then on, any other key is not.
func RunRevokedKeys(t *testing.T, s RevokedKeysSuite) {
	check := func(t *testing.T, store join.RevokedKeys, key string, want error) {
		t.Helper()
		// errors.Is(err, nil) is true of nil alone.
		if err := store.Revoked(t.Context(), key); !errors.Is(err, want) {
			t.Errorf("Revoked(%s) = %v, want %v", key, err, want)
		}
	}
	t.Run("Revoke", func(t *testing.T) {
		store := s.Open(t)
		check(t, store, keyHash(1), nil)
		if err := s.Revoke(t.Context(), store, keyHash(1)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			check(t, store, keyHash(1), join.ErrRevoked)
			check(t, store, keyHash(2), nil)
		}
	})
	t.Run("AtOnce", func(t *testing.T) {
		store := s.Open(t)
		errs := atOnce(func(i int) error {
			if err := s.Revoke(t.Context(), store, keyHash(i)); err != nil {
				return err
			}
			if err := store.Revoked(t.Context(), keyHash(i)); !errors.Is(err, join.ErrRevoked) {
				t.Errorf("key %d just after it was revoked: %v", i, err)
			}
			return nil
		})
		for i, err := range errs {
			if err != nil {
				t.Errorf("revoke key %d: %v", i, err)
			}
			check(t, store, keyHash(i), join.ErrRevoked)
		}
		check(t, store, keyHash(contenders), nil)
	})
}
