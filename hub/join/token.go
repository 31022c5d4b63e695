package join

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"time"
)

const (
	tokenPrefix = "edgekit"
	maxTokenID  = 64
)

// Token is what an operator hands to a machine that is to join. It is a
// secret.
type Token struct {
	ID     string // public, names the token in lists
	Secret string
	Pin    string // of the cloud's certificate authority, see CA.Pin
}

// NewToken makes a token with a random ID and secret.
func NewToken(pin string) Token {
	return Token{ID: strings.ToLower(rand.Text()[:10]), Secret: strings.ToLower(rand.Text()), Pin: pin}
}

// ParseToken reads what Token.String wrote, or returns ErrTokenMalformed.
func ParseToken(s string) (Token, error) {
	part := strings.Split(strings.TrimSpace(s), ".")
	if len(part) != 4 || part[0] != tokenPrefix {
		return Token{}, ErrTokenMalformed
	}
	t := Token{ID: part[1], Secret: part[2], Pin: part[3]}
	pin, err := hex.DecodeString(t.Pin)
	if err != nil || len(pin) != sha256.Size || !plain(t.ID, maxTokenID) || !plain(t.Secret, 256) {
		return Token{}, ErrTokenMalformed
	}
	t.Pin = strings.ToLower(t.Pin)
	return t, nil
}

// plain reports whether s is 1 to most letters and digits.
func plain(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// String is the token as one hands it over: edgekit.<id>.<secret>.<pin>.
func (t Token) String() string {
	return strings.Join([]string{tokenPrefix, t.ID, t.Secret, t.Pin}, ".")
}

// Record is what a store keeps of the token: no secret, only its hash. nodes
// is a node's name or a pattern of names as in path.Match ("edge-*").
func (t Token) Record(nodes string, expires time.Time) Record {
	return Record{ID: t.ID, SecretHash: hash([]byte(t.Secret)), Nodes: nodes, Expires: expires}
}

// Record is a token as it is stored.
type Record struct {
	ID         string
	SecretHash string // SHA-256 in hex
	Nodes      string // a node's name or a pattern of names, as in path.Match
	Expires    time.Time
	UsedBy     string // the hash of the key that used it; empty while unused
	UsedFor    string // the node that it was used for
	UsedAt     time.Time
	Approve    bool          // a join with it waits for an operator; see Approvals
	Life       time.Duration // of the certificates of the node that joins; 0 means HandlerConfig.Life
}

// Tokens is the store of tokens. Its methods may be called at the same time,
// also by several clouds.
type Tokens interface {
	// Token reads one token, or returns an error that is ErrTokenInvalid.
	Token(ctx context.Context, id string) (Record, error)
	// Use marks the token as used by the key with that hash, for the node.
	// Only one key ever succeeds: for another it returns an error that is
	// ErrTokenUsed, and for a token that does not exist one that is
	// ErrTokenInvalid. The same key and node succeed again, so that a machine
	// may repeat a join whose answer was lost. Use does not look at the
	// token's time or pattern of names: the Handler has checked both.
	Use(ctx context.Context, id, node, keyHash string) error
}

// Names is the store of which key has which node name. Its methods may be called at the
// same time, also by several clouds.
type Names interface {
	// Claim gives the name to the key with that hash. It returns whether the
	// claim is new, or an error that is ErrNameInUse when another key has the
	// name.
	Claim(ctx context.Context, node, keyHash string) (fresh bool, err error)
	// Release takes a claim back if that key has it; otherwise it does
	// nothing.
	Release(ctx context.Context, node, keyHash string) error
	// Holder returns the hash of the key that has the name, or "" if none has.
	Holder(ctx context.Context, node string) (keyHash string, err error)
}

// FreedNames is implemented by a Names that distinguishes a name that was freed, whose
// Node may exist with pods on it, from one that nobody had. Only a token for exactly
// that name can take a freed name; a token for a pattern cannot. Release of a claim that
// took a freed name leaves the name freed.
type FreedNames interface {
	Freed(ctx context.Context, node string) (bool, error)
}

// KeyReplacer is implemented by a Names in which a renewal can replace a node's key. From
// Replace to Confirm both keys have the name: the answer to a renewal may be lost, and
// then the node has its old key only.
type KeyReplacer interface {
	// Keys returns the hashes of the keys that have the name: the newest first, and
	// the one before as long as the newest was not confirmed. It gives none for a
	// name that nobody has.
	Keys(ctx context.Context, node string) ([]string, error)
	// Replace makes the key with the hash fresh the newest and old the one before,
	// in one step. Again with the same keys it succeeds. If old does not have the
	// name it returns an error that is ErrIdentity.
	Replace(ctx context.Context, node, old, fresh string) error
	// Confirm is called when the key was used: if it is the newest, the one before no
	// longer has the name.
	Confirm(ctx context.Context, node, keyHash string) error
}

// Ledger is implemented by a store that also records what was issued, so that an operator
// sees who still has a certificate of an old authority.
type Ledger interface {
	// Issued is called with each certificate before its node gets it.
	Issued(ctx context.Context, node string, cert *x509.Certificate, issuer string) error
}

// RevokedKeys is implemented by a store that also records the keys that an operator has
// revoked.
type RevokedKeys interface {
	// Revoked returns an error that is ErrRevoked for such a key, nil for any
	// other.
	Revoked(ctx context.Context, keyHash string) error
}

// pattern reports whether the record is for more than one name.
func (r Record) pattern() bool { return strings.ContainsAny(r.Nodes, `*?[\`) }

// check returns why the record does not allow this secret, node and key at that time, or
// nil. A wrong secret takes the same time wherever it differs.
func (r Record) check(secret, node, keyHash string, now time.Time) error {
	switch {
	case subtle.ConstantTimeCompare([]byte(hash([]byte(secret))), []byte(r.SecretHash)) != 1:
		return ErrTokenInvalid
	case r.UsedBy != "" && (r.UsedBy != keyHash || r.UsedFor != node):
		return ErrTokenUsed
	case !now.Before(r.Expires):
		return ErrTokenExpired
	}
	if ok, err := path.Match(r.Nodes, node); err != nil || !ok {
		return fmt.Errorf("%w: it is for %q", ErrTokenNode, r.Nodes)
	}
	return nil
}

func hash(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// KeyHash is the SHA-256, in hex, of a certificate's public key. The hash of a
// CA's key is its pin; that of a node's key is what Names keeps.
func KeyHash(cert *x509.Certificate) string { return hash(cert.RawSubjectPublicKeyInfo) }

// CheckNodeName returns ErrNodeName unless name can be a node's: a DNS
// subdomain as Kubernetes defines it (RFC 1123, lower case).
func CheckNodeName(name string) error {
	if name == "" || len(name) > 253 {
		return ErrNodeName
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return ErrNodeName
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return ErrNodeName
			}
		}
	}
	return nil
}
