print('<ir_version: 9, opset_import: ["" : 17, "m" : 1]> g (float[2] x) => (float[2] y) { y = m.F23(x) }')
print('<domain: "m", opset_import: ["" : 17]> F0 (x) => (y) { a = Neg(x) y = Neg(a) }')
for i in range(1, 24):
    print(f'<domain: "m", opset_import: ["" : 17, "m" : 1]> F{i} (x) => (y) {{ a = m.F{i-1}(x) y = m.F{i-1}(a) }}')
