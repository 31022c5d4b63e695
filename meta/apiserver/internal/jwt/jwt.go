// Package jwt checks the JSON Web Tokens of Kubernetes service accounts
// (RFC 7515, 7517, 7518 and 7519, as far as API servers use them): it reads a
// key set, verifies a signature and gives the claims.
package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // linked for crypto.Hash
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// maxToken is more than any service account token has.
const maxToken = 16 << 10

// ErrSignature is returned for a token that none of the keys has signed.
var ErrSignature = errors.New("jwt: no key of the issuer has signed this token")

// Key is one public key of an issuer.
type Key struct {
	ID     string
	Public crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey
}

// ParseKeys reads a JSON Web Key Set. Keys of unknown kinds are left out.
func ParseKeys(text []byte) ([]Key, error) {
	var set struct {
		Keys []struct {
			Kty, Kid, Use, N, E, Crv, X, Y string
		}
	}
	if err := jsonlimit.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("jwt: key set: %w", err)
	}
	var keys []Key
	for _, k := range set.Keys {
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		var public crypto.PublicKey
		var err error
		switch k.Kty {
		case "RSA":
			public, err = rsaKey(k.N, k.E)
		case "EC":
			public, err = ecKey(k.Crv, k.X, k.Y)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("jwt: key %q: %w", k.Kid, err)
		}
		keys = append(keys, Key{k.Kid, public})
	}
	return keys, nil
}

func rsaKey(n, e string) (*rsa.PublicKey, error) {
	modulus, err := base64.RawURLEncoding.DecodeString(n)
	if err != nil {
		return nil, err
	}
	exponent, err := base64.RawURLEncoding.DecodeString(e)
	if err != nil {
		return nil, err
	}
	exp := new(big.Int).SetBytes(exponent)
	if len(modulus) < 128 || len(modulus) > 1024 || !exp.IsInt64() || exp.Int64() < 3 || exp.Int64() > 1<<31-1 {
		return nil, errors.New("not an RSA key of 1,024 to 8,192 bits")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(exp.Int64())}, nil
}

func ecKey(curve, x, y string) (*ecdsa.PublicKey, error) {
	var c elliptic.Curve
	switch curve {
	case "P-256":
		c = elliptic.P256()
	case "P-384":
		c = elliptic.P384()
	case "P-521":
		c = elliptic.P521()
	default:
		return nil, fmt.Errorf("curve %.20q is not known", curve)
	}
	size := (c.Params().BitSize + 7) / 8
	point := []byte{4} // uncompressed, SEC 1
	for _, text := range []string{x, y} {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(b) > size {
			return nil, errors.New("coordinate is not one of the curve's size")
		}
		point = append(append(point, make([]byte, size-len(b))...), b...)
	}
	return ecdsa.ParseUncompressedPublicKey(c, point)
}

// Claims are what a service account token says.
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

// Audience is one text or a list of them.
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

// Date is a time in seconds since 1970, whole or not.
type Date struct{ time.Time }

// UnmarshalJSON reads a NumericDate.
func (d *Date) UnmarshalJSON(b []byte) error {
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return err
	}
	if seconds < 0 || seconds > 1<<40 {
		return fmt.Errorf("jwt: %g is no time", seconds)
	}
	d.Time = time.Unix(int64(seconds), 0)
	return nil
}

// Looks reports whether text has the form of a token of three parts.
func Looks(text string) bool { return len(text) <= maxToken && strings.Count(text, ".") == 2 }

// Verify checks the token's signature and gives its claims, none of which is
// checked here.
func Verify(token string, keys []Key) (Claims, error) {
	var claims Claims
	if !Looks(token) {
		return claims, errors.New("jwt: not a token of three parts")
	}
	signed := token[:strings.LastIndexByte(token, '.')]
	head, payload, _ := strings.Cut(signed, ".")
	var header struct {
		Alg, Kid string
		Crit     []string
	}
	if err := part(head, &header); err != nil {
		return claims, fmt.Errorf("jwt: header: %w", err)
	}
	if len(header.Crit) > 0 {
		return claims, errors.New("jwt: the token has critical extensions, of which none is known")
	}
	signature, err := base64.RawURLEncoding.DecodeString(token[len(signed)+1:])
	if err != nil {
		return claims, fmt.Errorf("jwt: signature: %w", err)
	}
	if !slices.ContainsFunc(keys, func(k Key) bool {
		return (header.Kid == "" || k.ID == "" || header.Kid == k.ID) && verify(header.Alg, k.Public, signed, signature)
	}) {
		return claims, ErrSignature
	}
	if err := part(payload, &claims); err != nil {
		return Claims{}, fmt.Errorf("jwt: claims: %w", err)
	}
	return claims, nil
}

func part(text string, into any) error {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	return jsonlimit.Unmarshal(b, into)
}

func verify(alg string, public crypto.PublicKey, signed string, signature []byte) bool {
	var hash crypto.Hash
	switch {
	case strings.HasSuffix(alg, "256"):
		hash = crypto.SHA256
	case strings.HasSuffix(alg, "384"):
		hash = crypto.SHA384
	case strings.HasSuffix(alg, "512"):
		hash = crypto.SHA512
	default:
		return false
	}
	h := hash.New()
	h.Write([]byte(signed))
	sum := h.Sum(nil)
	switch key := public.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") && rsa.VerifyPKCS1v15(key, hash, sum, signature) == nil ||
			strings.HasPrefix(alg, "PS") && rsa.VerifyPSS(key, hash, sum, signature, nil) == nil
	case *ecdsa.PublicKey:
		size := (key.Curve.Params().BitSize + 7) / 8
		if alg != map[int]string{32: "ES256", 48: "ES384", 66: "ES512"}[size] || len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(key, sum, r, s)
	}
	return false
}
