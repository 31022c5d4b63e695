package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

const payload = `{"iss":"https://issuer","sub":"system:serviceaccount:default:app","aud":["api"],"exp":1700000000.5,
	"kubernetes.io":{"namespace":"default","pod":{"name":"web","uid":"u1"},"serviceaccount":{"name":"app","uid":"u2"}}}`

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign makes a token as an issuer does.
func sign(t testing.TB, header, claims string, key crypto.Signer, hash crypto.Hash, pss bool) string {
	t.Helper()
	signed := encode([]byte(header)) + "." + encode([]byte(claims))
	h := hash.New()
	h.Write([]byte(signed))
	sum := h.Sum(nil)
	var signature []byte
	var err error
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if pss {
			signature, err = rsa.SignPSS(rand.Reader, key, hash, sum, nil)
		} else {
			signature, err = rsa.SignPKCS1v15(rand.Reader, key, hash, sum)
		}
	case *ecdsa.PrivateKey:
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, key, sum)
		size := (key.Params().BitSize + 7) / 8
		signature = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(signature)
}

// keySet is what the issuer publishes of its keys.
func keySet(t testing.TB, keys map[string]crypto.Signer) []byte {
	t.Helper()
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	for id, key := range keys {
		jwk := map[string]string{"kid": id, "use": "sig"}
		switch key := key.(type) {
		case *rsa.PrivateKey:
			jwk["kty"], jwk["n"], jwk["e"] = "RSA", encode(key.N.Bytes()), encode(big.NewInt(int64(key.E)).Bytes())
		case *ecdsa.PrivateKey:
			point, err := key.PublicKey.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			half := (len(point) - 1) / 2
			jwk["kty"], jwk["crv"], jwk["x"], jwk["y"] = "EC", key.Params().Name, encode(point[1:1+half]), encode(point[1+half:])
		}
		set.Keys = append(set.Keys, jwk)
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func makeKeys(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	keys := make(map[string]crypto.Signer)
	var err error
	if keys["rsa"], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	for id, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		if keys[id], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func TestVerify(t *testing.T) {
	private := makeKeys(t)
	keys, err := ParseKeys(keySet(t, private))
	if err != nil || len(keys) != len(private) {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, c := range []struct {
		alg, kid, key string
		hash          crypto.Hash
		good          bool
	}{
		{"RS256", "rsa", "rsa", crypto.SHA256, true},
		{"RS512", "", "rsa", crypto.SHA512, true},
		{"PS384", "rsa", "rsa", crypto.SHA384, true},
		{"ES256", "p256", "p256", crypto.SHA256, true},
		{"ES384", "p384", "p384", crypto.SHA384, true},
		{"ES512", "p521", "p521", crypto.SHA512, true},
		{"ES256", "p384", "p256", crypto.SHA256, false}, // another key's id
		{"ES384", "p256", "p256", crypto.SHA384, false}, // not the curve's algorithm
		{"PS256", "rsa", "p256", crypto.SHA256, false},
		{"RS256", "rsa", "rsa", crypto.SHA512, false},
		{"none", "rsa", "rsa", crypto.SHA256, false},
		{"HS256", "rsa", "rsa", crypto.SHA256, false},
		{"", "", "rsa", crypto.SHA256, false},
	} {
		name := fmt.Sprintf("%s %s by %s", c.alg, c.kid, c.key)
		token := sign(t, fmt.Sprintf(`{"alg":%q,"kid":%q}`, c.alg, c.kid), payload, private[c.key], c.hash, strings.HasPrefix(c.alg, "PS"))
		claims, err := Verify(token, keys)
		switch {
		case !c.good && !errors.Is(err, ErrSignature):
			t.Errorf("%s: %v, want ErrSignature", name, err)
		case c.good && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.good && (claims.Issuer != "https://issuer" || !slices.Equal(claims.Audience, []string{"api"}) || claims.Kubernetes.Pod.UID != "u1" ||
			!claims.Expiry.Equal(time.Unix(1700000000, 0))):
			t.Errorf("%s: claims are %+v", name, claims)
		}
		if !c.good {
			continue
		}
		if _, err := Verify(token, nil); !errors.Is(err, ErrSignature) {
			t.Errorf("%s without keys: %v", name, err)
		}
		parts := strings.Split(token, ".")
		forged := parts[0] + "." + encode([]byte(strings.Replace(payload, "app", "root", 1))) + "." + parts[2]
		if _, err := Verify(forged, keys); !errors.Is(err, ErrSignature) {
			t.Errorf("%s with other claims: %v", name, err)
		}
		if _, err := Verify(parts[0]+"."+parts[1]+"."+parts[2][:len(parts[2])-4], keys); !errors.Is(err, ErrSignature) {
			t.Errorf("%s with a short signature: %v", name, err)
		}
	}
}

func TestBrokenTokens(t *testing.T) {
	private := makeKeys(t)
	keys, err := ParseKeys(keySet(t, private))
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"empty":               "",
		"two parts":           "a.b",
		"four parts":          "a.b.c.d",
		"too long":            strings.Repeat("a", maxToken) + ".b.c",
		"header no base64":    "!.b.c",
		"header no JSON":      encode([]byte("x")) + ".b.c",
		"signature no base64": encode([]byte(`{"alg":"RS256"}`)) + ".b.!",
		"critical extension":  sign(t, `{"alg":"ES256","crit":["x"]}`, payload, private["p256"], crypto.SHA256, false),
		"claims no JSON":      sign(t, `{"alg":"ES256"}`, "x", private["p256"], crypto.SHA256, false),
		"end before 1970":     sign(t, `{"alg":"ES256"}`, `{"exp":-1}`, private["p256"], crypto.SHA256, false),
		"end after all time":  sign(t, `{"alg":"ES256"}`, `{"exp":1e300}`, private["p256"], crypto.SHA256, false),
		"audience no text":    sign(t, `{"alg":"ES256"}`, `{"aud":{}}`, private["p256"], crypto.SHA256, false),
	} {
		if claims, err := Verify(token, keys); err == nil || claims.Subject != "" {
			t.Errorf("%s: %+v, %v", name, claims, err)
		}
	}
	one, err := Verify(sign(t, `{"alg":"ES256"}`, `{"aud":"api"}`, private["p256"], crypto.SHA256, false), keys)
	if err != nil || !slices.Equal(one.Audience, []string{"api"}) {
		t.Errorf("one audience: %+v, %v", one, err)
	}
}

func TestParseKeys(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		keys int
		good bool
	}{
		"no JSON":            {`{`, 0, false},
		"none":               {`{"keys":[]}`, 0, true},
		"of an unknown kind": {`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`, 0, true},
		"for encryption":     {`{"keys":[{"kty":"RSA","use":"enc"}]}`, 0, true},
		"short RSA":          {`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`, 0, false},
		"exponent 1":         {`{"keys":[{"kty":"RSA","n":"` + encode(make([]byte, 256)) + `","e":"AQ"}]}`, 0, false},
		"unknown curve":      {`{"keys":[{"kty":"EC","crv":"P-224","x":"AA","y":"AA"}]}`, 0, false},
		"long coordinate":    {`{"keys":[{"kty":"EC","crv":"P-256","x":"` + encode(make([]byte, 33)) + `","y":"AA"}]}`, 0, false},
		"not on the curve":   {`{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}`, 0, false},
	} {
		keys, err := ParseKeys([]byte(c.text))
		if len(keys) != c.keys || (err == nil) != c.good {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}

// FuzzVerify checks that only tokens that an issuer signed are accepted, and that no
// input panics.
func FuzzVerify(f *testing.F) {
	private := makeKeys(f)
	keys, err := ParseKeys(keySet(f, private))
	if err != nil {
		f.Fatal(err)
	}
	good := sign(f, `{"alg":"ES256","kid":"p256"}`, payload, private["p256"], crypto.SHA256, false)
	f.Add(good)
	f.Add(encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(payload)) + ".")
	f.Fuzz(func(t *testing.T, token string) {
		if claims, err := Verify(token, keys); err == nil && token[:strings.LastIndexByte(token, '.')] != good[:strings.LastIndexByte(good, '.')] {
			t.Errorf("%q is taken: %+v", token, claims)
		}
	})
}

// FuzzParseKeys checks that every key that is parsed, from whatever input, can be used.
func FuzzParseKeys(f *testing.F) {
	f.Add(keySet(f, makeKeys(f)))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	token := encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte("{}")) + "." + encode(make([]byte, 256))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := ParseKeys(text)
		if err != nil {
			return
		}
		if _, err := Verify(token, keys); err == nil {
			t.Errorf("a token of zeros is taken by %q", text)
		}
	})
}
