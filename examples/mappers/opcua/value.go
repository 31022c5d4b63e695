package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/gopcua/opcua/ua"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// text writes a value that the server gave. An array is JSON.
func text(v *ua.DataValue, typ schema.Type) (string, error) {
	switch {
	case v == nil:
		return "", fmt.Errorf("the server gave no value")
	case uint32(v.Status)>>30 == 2: // Bad; Uncertain values are used: OPC 10000-4, 7.38
		return "", fmt.Errorf("the server answered: %w", v.Status)
	case v.Value == nil || v.Value.Value() == nil:
		return "", fmt.Errorf("the value is null")
	}
	switch x := v.Value.Value().(type) {
	case bool:
		if typ == schema.TypeInt || typ == schema.TypeFloat || typ == schema.TypeDouble {
			return map[bool]string{true: "1", false: "0"}[x], nil
		}
		return strconv.FormatBool(x), nil
	case int8, int16, int32, int64:
		return number(strconv.FormatInt(v.Value.Int(), 10), typ)
	case uint8, uint16, uint32, uint64:
		return number(strconv.FormatUint(v.Value.Uint(), 10), typ)
	case float32:
		return strconv.FormatFloat(float64(x), 'g', -1, 32), nil
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64), nil
	case string:
		return x, nil
	case []byte:
		return base64.StdEncoding.EncodeToString(x), nil
	case time.Time:
		return x.UTC().Format(time.RFC3339Nano), nil
	case *ua.LocalizedText:
		return x.Text, nil
	case *ua.GUID:
		return x.String(), nil
	case *ua.NodeID:
		return x.String(), nil
	default:
		raw, err := json.Marshal(x)
		if err != nil {
			return "", fmt.Errorf("the value is a %s, which has no text form", v.Value.Type())
		}
		return string(raw), nil
	}
}

// number writes an integer by the type of its property.
func number(digits string, typ schema.Type) (string, error) {
	if typ == schema.TypeBoolean {
		return strconv.FormatBool(digits != "0"), nil
	}
	return digits, nil
}

// variant makes a value of a type that the server has: it takes no other.
func variant(value string, typ ua.TypeID) (*ua.Variant, error) {
	var v any
	var err error
	switch typ {
	case ua.TypeIDBoolean:
		if value != "true" && value != "false" {
			err = fmt.Errorf("want true or false")
		}
		v = value == "true"
	case ua.TypeIDSByte, ua.TypeIDInt16, ua.TypeIDInt32, ua.TypeIDInt64:
		v, err = signed(value, typ)
	case ua.TypeIDByte, ua.TypeIDUint16, ua.TypeIDUint32, ua.TypeIDUint64:
		v, err = unsigned(value, typ)
	case ua.TypeIDFloat:
		var f float64
		f, err = strconv.ParseFloat(value, 32)
		v = float32(f)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			err = fmt.Errorf("want a finite number")
		}
	case ua.TypeIDDouble:
		var f float64
		f, err = strconv.ParseFloat(value, 64)
		v = f
		if math.IsNaN(f) || math.IsInf(f, 0) {
			err = fmt.Errorf("want a finite number")
		}
	case ua.TypeIDString:
		v = value
	case ua.TypeIDByteString:
		v, err = base64.StdEncoding.DecodeString(value)
	case ua.TypeIDDateTime:
		v, err = time.Parse(time.RFC3339Nano, value)
	case ua.TypeIDLocalizedText:
		v = ua.NewLocalizedText(value)
	default:
		err = fmt.Errorf("the type cannot be written")
	}
	if err != nil {
		return nil, fmt.Errorf("%.80q as the server's %s: %w", value, typ, err)
	}
	return ua.NewVariant(v)
}

func signed(value string, typ ua.TypeID) (any, error) {
	bits := map[ua.TypeID]int{ua.TypeIDSByte: 8, ua.TypeIDInt16: 16, ua.TypeIDInt32: 32, ua.TypeIDInt64: 64}[typ]
	n, err := strconv.ParseInt(value, 10, bits)
	switch bits {
	case 8:
		return int8(n), err
	case 16:
		return int16(n), err
	case 32:
		return int32(n), err
	}
	return n, err
}

func unsigned(value string, typ ua.TypeID) (any, error) {
	bits := map[ua.TypeID]int{ua.TypeIDByte: 8, ua.TypeIDUint16: 16, ua.TypeIDUint32: 32, ua.TypeIDUint64: 64}[typ]
	n, err := strconv.ParseUint(value, 10, bits)
	switch bits {
	case 8:
		return uint8(n), err
	case 16:
		return uint16(n), err
	case 32:
		return uint32(n), err
	}
	return n, err
}
