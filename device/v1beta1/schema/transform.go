package schema

// The representations of a number in a device. Their names are those of programming
// languages: INT16 is signed and has 16 bits.
const (
	RawInt8    RawType = "INT8"
	RawUint8   RawType = "UINT8"
	RawInt16   RawType = "INT16"
	RawUint16  RawType = "UINT16"
	RawInt32   RawType = "INT32"
	RawUint32  RawType = "UINT32"
	RawInt64   RawType = "INT64"
	RawUint64  RawType = "UINT64"
	RawFloat32 RawType = "FLOAT32" // IEEE 754, 32 bits
	RawFloat64 RawType = "FLOAT64" // IEEE 754, 64 bits
)

// RawType is how a device represents a number.
//
// +kubebuilder:validation:Enum=INT8;UINT8;INT16;UINT16;INT32;UINT32;INT64;UINT64;FLOAT32;FLOAT64
type RawType string

// The orders of bytes and of words. Empty is BigEndian.
const (
	BigEndian    Order = "BigEndian"    // the most significant first
	LittleEndian Order = "LittleEndian" // the least significant first
)

// Order is the order of the parts of a number.
//
// +kubebuilder:validation:Enum=BigEndian;LittleEndian
type Order string

// Transform says how the value of a property comes from what the device has, its raw value, in
// this order: byte and word order, raw type, mask, shift, scale, offset, mapping. A write does
// the inverse. The device SDK does it; a driver only hands over what the device has. Numbers
// are text, so that 0.1 stays 0.1. KubeEdge has no such field.
//
// +kubebuilder:object:generate=true
type Transform struct {
	// RawType is how the device represents the number. Without it an integer is signed and as
	// long as what the driver hands over, and a float has 4 or 8 bytes.
	RawType RawType `json:"rawType,omitempty"`
	// ByteOrder is the order of the two bytes in each 16-bit word; empty is BigEndian.
	ByteOrder Order `json:"byteOrder,omitempty"`
	// WordOrder is the order of the 16-bit words; empty is BigEndian.
	WordOrder Order `json:"wordOrder,omitempty"`
	// Mask has the bits of a raw integer that belong to the property, decimal or as 0xff. A
	// write keeps the others.
	// +kubebuilder:validation:Pattern=`^(0[xX][0-9a-fA-F]{1,16}|0[bB][01]{1,64}|[0-9]{1,20})$`
	Mask string `json:"mask,omitempty"`
	// Shift is by how many bits a raw integer is shifted to the right, after the mask.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=63
	Shift int `json:"shift,omitempty"`
	// Scale is what the raw number is multiplied by, for example "0.1"; empty is 1.
	// +kubebuilder:validation:Pattern=`^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?$`
	// +kubebuilder:validation:MaxLength=32
	Scale string `json:"scale,omitempty"`
	// Offset is added to the number after it was multiplied by scale; empty is 0.
	// +kubebuilder:validation:Pattern=`^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?$`
	// +kubebuilder:validation:MaxLength=32
	Offset string `json:"offset,omitempty"`
	// Mapping names raw values, for example "1" as "open". A raw value that it lacks is an
	// error.
	// +listType=map
	// +listMapKey=raw
	// +kubebuilder:validation:MaxItems=256
	Mapping []Mapping `json:"mapping,omitempty"`
	// OnChange reports the value when it has changed, and else only once in a reportCycle.
	OnChange bool `json:"onChange,omitempty"`
	// DeadBand is by how much a number must differ from the one last reported to count as
	// changed, for example "0.5". It implies onChange.
	// +kubebuilder:validation:Pattern=`^([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?$`
	// +kubebuilder:validation:MaxLength=32
	DeadBand string `json:"deadBand,omitempty"`
}

// Mapping is the name of one raw value.
//
// +kubebuilder:object:generate=true
type Mapping struct {
	// Raw is the value after scale and offset, for example "1".
	// +kubebuilder:validation:MaxLength=64
	Raw string `json:"raw"`
	// Value is what the property then is.
	// +kubebuilder:validation:MaxLength=256
	Value string `json:"value"`
}
