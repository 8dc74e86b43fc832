;; A guest in as few bytes as the contract allows: one operation, `evil`, that drops every record.
;;
;; Tests put other code in the place of the words in angle brackets, or of whole lines. Where things lie:
;;
;;   0x100 texts   0x1f0 what describe returns   0x200 its operation   0x300 what open returns
;;   0x400 what process returns   0x480 an empty frame   0x500 counts   0x600 what finish returns   0x680 its counts
(module
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 65536))
  (data (i32.const 0x100) "evil")
  (data (i32.const 0x110) "{}")
  (data (i32.const 0x1f0) "\00\02\00\00\01\00\00\00")
  (data (i32.const 0x200) "\00\01\00\00\04\00\00\00\00\01\00\00\04\00\00\00\10\01\00\00\02\00\00\00")
  (data (i32.const 0x404) "\80\04\00\00\08\00\00\00")
  (data (i32.const 0x428) "\00\05\00\00\01\00\00\00")
  (data (i32.const 0x604) "\80\04\00\00\08\00\00\00")
  (data (i32.const 0x628) "\80\06\00\00\01\00\00\00")
  ;;<fields>
  (func $spin (loop $again (br $again)))
  (func $recurse (param i32) (result i32) (i32.add (call $recurse (local.get 0)) (i32.const 1)))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16))))))
      (unreachable))
    (local.get $at))
  (func (export "describe") (result i32)
    ;;<describe>
    (i32.const 0x1f0))
  (func (export "open") (param i32 i32) (result i32)
    ;;<open>
    (i32.const 0x300))
  (func (export "process") (param $at i32) (param $len i32) (param i32 i32 i32) (result i32)
    (i64.store (i32.const 0x500) (i64.load32_u (local.get $at)))
    (i64.store (i32.const 0x510) (i64.load32_u (local.get $at)))
    ;;<process>
    (i32.const 0x400))
  (func (export "finish") (result i32)
    ;;<finish>
    (i32.const 0x600))
)
