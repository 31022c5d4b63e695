// Package jwt checks the JSON Web Tokens of Kubernetes service accounts: it
// reads a key set (RFC 7517), verifies a signature (RFC 7515, 7518) and returns
// the claims (RFC 7519). go-jose decodes keys and verifies signatures. This
// package adds what an API server wants beyond that: a fixed list of algorithms,
// bounds on what is decoded, and the claims that Kubernetes defines.
package jwt

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// maxToken is more than any service account token has.
const maxToken = 16 << 10

// ErrSignature is returned for a token that none of the keys has signed.
var ErrSignature = errors.New("jwt: no key of the issuer has signed this token")

// algorithms are those that kube-apiserver accepts for service account tokens.
// "none" and the symmetric ones (HS256 ...) are not among them: with those,
// whoever knows the public key could sign (RFC 8725, section 2.1).
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512,
		jose.PS256, jose.PS384, jose.PS512,
		jose.ES256, jose.ES384, jose.ES512,
	}
}

// Key is one public key of an issuer.
type Key struct {
	ID     string
	Public crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey
}

// ParseKeys reads a JSON Web Key Set. It leaves out keys of other kinds than RSA
// and EC, and keys that are not for signatures (RFC 7517, sections 4.2 and 5).
func ParseKeys(text []byte) ([]Key, error) {
	var set struct {
		Keys []json.RawMessage
	}
	if err := jsonlimit.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("jwt: key set: %w", err)
	}
	var keys []Key
	for _, raw := range set.Keys {
		// go-jose fails for a kind that it does not know, so the kind is read first.
		var kind struct{ Kty, Kid, Use string }
		if err := jsonlimit.Unmarshal(raw, &kind); err != nil {
			return nil, fmt.Errorf("jwt: key set: %w", err)
		}
		if kind.Use != "" && kind.Use != "sig" || kind.Kty != "RSA" && kind.Kty != "EC" {
			continue
		}
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err != nil {
			return nil, fmt.Errorf("jwt: key %q: %w", kind.Kid, err)
		}
		public := key.Public().Key // for a private key, its public half
		if err := checkRSA(public); err != nil {
			return nil, fmt.Errorf("jwt: key %q: %w", kind.Kid, err)
		}
		keys = append(keys, Key{key.KeyID, public})
	}
	return keys, nil
}

// checkRSA bounds the size of an RSA key. A short key is not safe, and a long
// one makes each verification slow. go-jose checks neither.
func checkRSA(public crypto.PublicKey) error {
	key, ok := public.(*rsa.PublicKey)
	if !ok {
		return nil
	}
	if bytes := key.Size(); bytes < 128 || bytes > 1024 || key.E < 3 || key.E > 1<<31-1 {
		return errors.New("not an RSA key of 1,024 to 8,192 bits")
	}
	return nil
}

// Claims are the claims of a service account token.
type Claims struct {
	Issuer     string   `json:"iss"`
	Subject    string   `json:"sub"`
	Audience   Audience `json:"aud"`
	Expiry     Date     `json:"exp"`
	Kubernetes struct {
		Namespace      string    `json:"namespace"`
		Pod            Reference `json:"pod"`
		Node           Reference `json:"node"`
		ServiceAccount Reference `json:"serviceaccount"`
	} `json:"kubernetes.io"`
}

// Reference names an object with its uid.
type Reference struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// Audience is one string or a list of strings (RFC 7519, section 4.1.3).
type Audience []string

// UnmarshalJSON reads either form.
func (a *Audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = Audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// Date is a NumericDate: seconds since 1970, with or without a fraction
// (RFC 7519, section 2).
type Date struct{ time.Time }

// UnmarshalJSON reads a NumericDate.
func (d *Date) UnmarshalJSON(b []byte) error {
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return err
	}
	if seconds < 0 || seconds > 1<<40 {
		return fmt.Errorf("jwt: %g is not a time in seconds since 1970", seconds)
	}
	d.Time = time.Unix(int64(seconds), 0)
	return nil
}

// Looks reports whether text has the form of a token of three parts.
func Looks(text string) bool { return len(text) <= maxToken && strings.Count(text, ".") == 2 }

// Verify checks the token's signature and returns its claims. It does not check
// the claims.
func Verify(token string, keys []Key) (Claims, error) {
	var claims Claims
	if !Looks(token) {
		return claims, errors.New("jwt: not a token of three parts")
	}
	// The header is decoded here first, because jsonlimit bounds what that
	// allocates and go-jose does not.
	var header struct {
		Kid  string
		Crit []string
	}
	head, _, _ := strings.Cut(token, ".")
	if err := decodePart(head, &header); err != nil {
		return claims, fmt.Errorf("jwt: header: %w", err)
	}
	if len(header.Crit) > 0 { // RFC 7515, section 4.1.11: an unknown one makes the token invalid
		return claims, errors.New("jwt: the token has critical extensions, of which none is known")
	}
	signed, err := jose.ParseSignedCompact(token, algorithms())
	if _, unknown := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); unknown {
		return claims, ErrSignature
	}
	if err != nil {
		return claims, fmt.Errorf("jwt: %w", err)
	}
	var payload []byte
	if !slices.ContainsFunc(keys, func(k Key) bool {
		if header.Kid != "" && k.ID != "" && header.Kid != k.ID {
			return false
		}
		payload, err = signed.Verify(k.Public)
		return err == nil
	}) {
		return claims, ErrSignature
	}
	if err := jsonlimit.Unmarshal(payload, &claims); err != nil {
		return Claims{}, fmt.Errorf("jwt: claims: %w", err)
	}
	return claims, nil
}

// decodePart decodes one part of a token into a value.
func decodePart(text string, into any) error {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	return jsonlimit.Unmarshal(b, into)
}
