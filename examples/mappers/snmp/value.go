package main

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gosnmp/gosnmp"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// text writes a variable in the form of the property's type.
func (p *point) text(v gosnmp.SnmpPDU) (string, error) {
	switch v.Type {
	case gosnmp.NoSuchObject, gosnmp.NoSuchInstance, gosnmp.EndOfMibView, gosnmp.Null:
		return "", fmt.Errorf("the agent has no %s: %s", p.OID, v.Type)
	}
	switch x := v.Value.(type) {
	case []byte:
		if p.typ == schema.TypeBytes {
			return base64.StdEncoding.EncodeToString(x), nil
		}
		if !utf8.Valid(x) {
			return "", fmt.Errorf("%s is an octet string and not UTF-8: set type BYTES in the model", p.OID)
		}
		return strings.TrimSpace(string(x)), nil
	case string: // an address or an OID
		return x, nil
	case float32:
		return strconv.FormatFloat(float64(x), 'g', -1, 32), nil
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64), nil
	}
	n := gosnmp.ToBigInt(v.Value)
	if p.typ == schema.TypeBoolean { // TruthValue of RFC 2579: true is 1, false is 2
		return strconv.FormatBool(n.IsInt64() && n.Int64() == 1), nil
	}
	return n.String(), nil
}

// writeType is the type that a write sends.
func (p *point) writeType() (gosnmp.Asn1BER, error) {
	switch strings.ToLower(p.Type) {
	case "":
		if p.typ == schema.TypeInt || p.typ == schema.TypeBoolean {
			return gosnmp.Integer, nil
		}
		return gosnmp.OctetString, nil
	case "integer":
		return gosnmp.Integer, nil
	case "octetstring":
		return gosnmp.OctetString, nil
	case "gauge32", "unsigned32":
		return gosnmp.Gauge32, nil
	case "timeticks":
		return gosnmp.TimeTicks, nil
	case "ipaddress":
		return gosnmp.IPAddress, nil
	case "objectidentifier":
		return gosnmp.ObjectIdentifier, nil
	}
	return 0, fmt.Errorf("type is %q: set Integer, OctetString, Gauge32, Unsigned32, TimeTicks, IPAddress or ObjectIdentifier", p.Type)
}

// variable makes the variable of a write.
func (p *point) variable(value string) (gosnmp.SnmpPDU, error) {
	typ, err := p.writeType()
	if err != nil {
		return gosnmp.SnmpPDU{}, err
	}
	v := gosnmp.SnmpPDU{Name: p.OID, Type: typ, Value: value}
	switch typ {
	case gosnmp.Integer:
		if p.typ == schema.TypeBoolean {
			v.Value = map[bool]int{true: 1, false: 2}[value == "true"]
			break
		}
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return v, fmt.Errorf("%.80q is no INTEGER of 32 bits", value)
		}
		v.Value = int(n)
	case gosnmp.Gauge32, gosnmp.TimeTicks:
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return v, fmt.Errorf("%.80q is no unsigned number of 32 bits", value)
		}
		v.Value = uint32(n)
	case gosnmp.OctetString:
		if p.typ == schema.TypeBytes {
			raw, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				return v, fmt.Errorf("%.80q is no base64", value)
			}
			v.Value = raw
		}
	}
	return v, nil
}
