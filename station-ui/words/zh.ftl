# 页面上的中文文字。

language = 中文

## 框架。

station = 工站
scan = 扫描设备
start = 开始
lot = 批次
choose-lot = 选择批次
no-lot = 没有打开的批次
    .next = 请让人打开一个批次。
lot-progress = 已完成 { $completed } / { $quantity }
lot-choice = { $lot }：已完成 { $completed } / { $quantity }
fixture = 夹具
any-fixture = 自动
chosen = 下一次扫描
fixtures = 夹具
no-fixtures = 此工站没有夹具。请通知管理员。
live = 已连接
reconnecting = 正在重新连接
choose-language = 语言
change = 更改
sound = 声音
on = 开
off = 关
no-script = 此浏览器已禁用脚本：画面每十秒刷新一次。

## 磁贴：标题和下一步。

ready = 就绪
    .next = 放入设备并扫描。
not-ready = 未就绪
    .next = 请等待：工站已停止。
working = 处理中
    .next = 请勿取出设备。
ship-it = 可以出货
    .next = 取出设备并出货。
waits = 等待 CA
    .next = 把设备放到架子上。CA 恢复后再扫描一次。
scan-again = 再次扫描
    .next = 证书已到：放入设备并再次扫描。
stopped = 已停止
    .next = 再扫描一次；如果又停止，请放到一边。
set-aside = 放到一边
    .next = 放到一边，交给主管。
unknown = 状态未知
    .next = 此画面比工站旧：请叫管理员。
not-current = 正在重新连接
    .next = 请等待。不要按此画面出货。
last-known = 最后状态：{ $headline }
acknowledge = 知道了
    .label = 知道了：{ $fixture }，{ $headline }
support = 供技术支持：{ $reason }
step-of = 第 { $step } 步，共 { $steps } 步
preparing = 正在开始
took-seconds = { $seconds } 秒
lasting = 已持续

## 步骤。

step-requested = 正在识别设备
step-device-identified = 正在查找密钥
step-key-generation-started = 正在生成密钥
step-key-generated = 正在证明密钥所在位置
step-residency-proven = 正在签署请求
step-request-signed = 正在排队等候 CA
step-submitted = CA 正在签发
step-issued = 正在检查证书
step-write-started = 正在写入证书
step-written = 正在读回证书
step-verified = 正在完成

## 设备为何停止，以及该怎么做。

fault-DEVICE_ABSENT = 夹具中没有设备应答。
    .next = 放入设备并再次扫描。
fault-LINK_LOST = 设备停止应答。
    .next = 重新放好并再次扫描。
fault-DEADLINE_EXCEEDED = 设备没有及时应答。
    .next = 重新放好并再次扫描。
fault-WORKER_CRASHED = 设备的驱动程序中断。
    .next = 重新放好设备并再次扫描。
fault-DEVICE_BUSY = 设备一直忙。
    .next = 等一分钟后再次扫描。
fault-SESSION_LOST = 设备的会话丢失。
    .next = 等一分钟后再次扫描。
fault-PIN_REJECTED = 设备拒绝了 PIN。不会再试。
    .next = 请叫管理员。
fault-PIN_LOCKED = 设备的 PIN 已锁定或只剩最后一次。
    .next = 请叫管理员。
fault-DICTIONARY_ATTACK_LOCKOUT = TPM 因错误授权而锁定。
    .next = 保持通电十分钟后再次扫描。
fault-STORAGE_FULL = 设备的存储已满。
    .next = 放到一边。
fault-LOCATION_OCCUPIED = 设备的这个位置已有内容。
    .next = 放到一边，交给主管。
    .supervisor = 工站只移除自己生成的内容。请清除设备或移除其密钥后再次扫描；或将其报废。
fault-NOT_FOUND = 曾写入此设备的内容已不在。
    .next = 放到一边，交给主管。
fault-NOT_SAME_DEVICE = 标签和设备不相符：其中之一以前与别的一起扫描过。
    .next = 放到一边，交给主管。
    .supervisor = 扫错了标签？让它继续，然后扫描正确的设备。主板或标签已永久更换？请确认此硬件从现在起就是该设备。
fault-UNSUPPORTED = 设备不支持配置文件的要求。
    .next = 放到一边，交给主管。
fault-HARDWARE_FAILURE = 设备报告自身损坏。
    .next = 放到一边。
fault-MISMATCH = 设备的应答互相不符。
    .next = 放到一边，交给主管。
fault-RESIDENCY_UNPROVEN = 无法证明密钥在设备内。
    .next = 放到一边，交给主管。
fault-MISCONFIGURED = 夹具设置不正确。
    .next = 请叫管理员。
fault-CERTIFICATE_REJECTED = CA 的证书与请求不符。
    .next = 把设备放到一边，并叫管理员。
fault-REQUEST_REFUSED = CA 拒绝了此设备。
    .next = 放到一边，交给主管。
fault-FILE_WRITE_FAILED = 工站无法写入设备的文件。
    .next = 请叫管理员。
fault-JOURNAL_FAILED = 工站无法记录。
    .next = 请叫管理员。
fault-ANSWER_TOO_LARGE = CA 的应答过大。
    .next = 放到一边，交给主管。
fault-ANSWER_ALTERED = 设备的应答在途中被更改。
    .next = 放到一边，交给主管。
fault-IN_DOUBT = CA 可能签发了一张没有送到的证书。
    .next = 放到一边，交给主管。
fault-CANCELLED = 主管已取消。
    .next = 再次扫描设备以重新开始。
fault-SCRAPPED = 主管已将此设备报废。
    .next = 不要发货：放入报废品。

## 涉及所有夹具。

page-lost = 此画面失去连接：正在重新连接
    .next = 显示的内容可能已过时。请等待；如果持续，请叫管理员。
searching = 正在查找工站
    .next = 请等待。如果持续，请叫管理员。
station-lost = 工站没有应答：正在重新连接
    .next = 请等待，设备留在原处。已开始的不会丢失。
halted = 工站已停止
    .next = 设备留在原处，并叫管理员。
authority-away = { $waiting ->
        [0] CA 不在线：没有设备等待
       *[other] CA 不在线：{ $waiting } 台设备等待
    }
    .next = 继续扫描。等待的设备放到架子上；CA 恢复后再扫描一次。
    .full = 不要开始新设备：队列已满。等待的设备放到架子上；CA 恢复后再扫描一次。
drain-seconds = CA 恢复后约 { $seconds } 秒完成。
drain-minutes = CA 恢复后约 { $minutes } 分钟完成。

## 扫描结果。

nothing = （空）
unsent = 没有应答：画面连接后再扫描一次
started = 已开始
started-in = 已在 { $fixture } 开始
already = { $headline }：此设备以前已开始
fixture-chosen = 已选 { $fixture }：请扫描设备
fixture-unknown = 此工站没有夹具 { $fixture }：请选一个磁贴
lot-missing = 未开始：没有打开的批次。请让人打开一个，再扫描
lot-not-chosen = 未开始：请选择批次，再扫描
not-connected = 未开始：工站没有应答。画面连接后再扫描一次
form-expired = 未执行：画面已重新启动。请再扫描一次
acknowledge-first = 未开始：{ $fixture } 有设备待处理。请在那里点“知道了”或扫描该夹具，再扫描
acknowledged = { $fixture }：知道了

## 工牌。

badge-empty = 工牌为空：请再扫描一次
badge-wrong = 这不是本产线的工牌：1 到 64 个字母和数字
signed-in = 已登录：{ $badge }
sign-out = 退出
sign-in-first = 未开始：请先扫描工牌，再扫描设备
operator = 操作员
scan-badge = 扫描工牌

## 工站为何没有开始设备。

refused-NO_DEVICE = 未开始：空闲夹具中没有新设备
    .next = 把设备放入夹具并再次扫描。
refused-FIXTURE_AMBIGUOUS = 哪个夹具？{ $fixtures } 中有新设备
    .next = 扫描夹具条码或点它的磁贴，再扫描设备。
refused-FIXTURE_BUSY = 未开始：{ $fixture } 正在工作
    .next = 等它完成，或使用别的夹具。
refused-UNKNOWN_FIXTURE = 未开始：此工站没有这个夹具
    .next = 点一个磁贴，再扫描。
refused-LOT_CLOSED = 未开始：批次 { $lot } 已关闭
    .next = 选择别的批次，或请人打开一个。
refused-LOT_USED_UP = 未开始：批次 { $lot } 已满，已开始 { $started } / { $quantity } 台
    .next = 放回此设备：它不属于这个批次。
refused-WRONG_PROFILE = 未开始：批次 { $lot } 用于配置文件 { $profile }，不是 { $asked }
    .next = 选择正确的批次，再扫描。
refused-COMMON_NAME_TAKEN = 未开始：{ $device_serial } 以前已在批次 { $lot } 中发证
    .next = 把此设备放到一边：可能有重复标签。主管可以让它重新发证。
refused-REQUEST_ID_REUSED = 未开始：此请求以前以其他内容提出过
    .next = 再扫描一次。
refused-QUEUE_FULL = 未开始：队列已满
    .next = 等 CA 恢复后再扫描。
refused-CLOCK_WRONG = 未开始：工站时钟不对
    .next = 请叫管理员。
refused-STATION_HALTED = 未开始：工站已停止
    .next = 请叫管理员。
refused-JOURNAL_FAILED = 未开始：工站无法记录
    .next = 请叫管理员。
refused-ROWS_DAMAGED = 未开始：工站必须重新启动
    .next = 请叫管理员。
refused-ROLE_NOT_ALLOWED = 未执行：此画面无权这样做
    .next = 请叫管理员。
refused-UNKNOWN_CALLER = 未执行：工站不认识此画面
    .next = 请叫管理员。
refused-device_serial = 未开始：这不是本批次的设备序列号
    .next = 请扫描设备本身的条码。
refused-lot = 未开始：工站不认识此批次
    .next = 请选择批次，再扫描。
refused-profile = 未开始：此工站不做该配置文件
    .next = 请叫管理员。

## 按应答类型。后面是工站自己的话。

code-invalid = 未开始：工站不接受
code-not-found = 未开始：工站不认识
code-exists = 未开始：已存在，内容不同
code-precondition = 未开始：须先做别的事
code-aborted = 未开始：中间有别的事发生。请再扫描一次
code-exhausted = 未开始：没有空位。请稍后再试
code-denied = 未开始：此画面无权这样做。请叫管理员
code-unimplemented = 未开始：画面与工站不匹配。请叫管理员
code-internal = 未开始：工站有故障。请叫管理员
code-unavailable = 工站没有应答。画面连接后再扫描一次
code-late = 工站没有及时应答。请再扫描一次

## 其他页面。

pages = 页面
page-board = 看板
page-lots = 批次
page-find = 查找
page-station = 工站
page-golden = 班前检查
device = 设备
state = 状态
not-available = 工站没有应答：没有可显示的内容
    .next = 请等待，然后重新打开此页。
as-of = 截至 { $time } UTC
lots-started = 已开始
lots-open = 打开
lots-closed = 已关闭
lots-yield = 良率
lots-stuck = 停滞
lots-none = 还没有打开过批次。
find-what = 设备序列号、CN 或证书序列号
find-none = 未找到 { $wanted }
    .next = 扫描设备条码，或输入它的 CN 或证书序列号。
find-some = 找到 { $count } 个
story = { $device_serial } 的经过
common-name = CN
profile = 配置文件
key = 密钥
certificate-serial = 证书序列号
certificate-place = 证书位置
scanned-by = 扫描人
asked-by = 经由
supersedes = 取代
downloads = 下载
download-certificate = 证书
download-chain = 证书和证书链
download-records = 记录和证据
download-proof = 给审计员的证明
steps = 经过
time = 时间
step = 步骤
station-link = 与 CA 的连接
station-link-up = CA 有应答
station-link-down = CA 没有应答
station-link-unknown = 尚未询问
station-since = 自 { $time }
station-waiting = 等待 CA
station-of-room = { $length } / { $bound } 个位置
station-doubt = { $count } 个存疑
station-graph = 等待 CA，最近一小时
station-fixtures = 硬件
station-idle = 空闲
station-busy = 工作中
station-disk = 磁盘
station-disk-free = 剩余 { $free } GB，共 { $size } GB
station-clock = 时钟
station-clock-same = 工站时钟与此画面的机器一致
station-clock-differs = 工站时钟与此画面的机器相差 { $seconds } 秒
station-troubles = 请管理员处理
station-certificates = 将到期的证书
station-days = { $days } 天后
needs-server = 工站，作为服务器
needs-client = 工站，面向 CA
needs-issuer = 设备证书的签发者
needs-root = 设备证书的根

## 用标准样机做班前检查。

golden-due = 需做班前检查
golden-good = 已检查
golden-bad = 检查未通过
golden-scan = 扫描标准样机
golden-check = 检查
golden-unchecked = 本工站本班次尚未检查
    .next = 在本班第一台设备之前，用标准样机检查。
golden-checked = 本工站本班次已检查
    .next = 回到看板继续扫描。
golden-failed = 检查未通过：不要发货
    .next = 重新放好标准样机再检查一次。如果再次失败，请叫管理员。
golden-not-done = 未进行检查
golden-when = { $time } UTC，用 { $device_serial }，在 { $fixture }
golden-by = 由 { $operator }
golden-how = 检查方法
golden-step-1 = 把标准样机放入夹具。
golden-step-2 = 点“自动”，或点它所在的夹具。
golden-step-3 = 扫描它。它不占用任何批次的名额。

## 主管的决定。

supervise = 主管
act = 要做什么
act-release = 让它继续
act-cancel = 取消
act-rework = 重新发证，密钥不变
act-rework-key = 重新发证，换新密钥
act-hardware = 此硬件从现在起就是该设备
act-swap = 主板或标签已更换：将另一硬件认证为该设备
act-scrap = 报废设备：吊销证书并释放其批次名额
reason = 原因
reason-repaired = 故障已修复
reason-label = 标签错误或无法读取
reason-lot = 批次弄错了
reason-damaged = 设备损坏
reason-returned = 设备被退回
reason-test = 这是测试
reason-board = 主板已更换
badge-first = 1. 扫描主管工牌
pin-then = 2. 在键盘上输入 PIN
pin = PIN
pin-digits = 已输入 { $count } 位
pin-clear = 清除
decide = 3. 确认
decided = 已完成：{ $act }
badge-missing = 未执行：请先扫描主管工牌
refused-SUPERVISOR_WRONG = 未执行：工牌或 PIN 不正确
    .next = 请再次扫描工牌并输入 PIN。
refused-SUPERVISOR_LOCKED = 未执行：PIN 错误过多，此工牌已锁定
    .next = 请叫管理员。
refused-SUPERVISOR_WAIT = 未执行：PIN 错误过多
    .next = 等几分钟再试。
refused-SUPERVISOR_UNCOUNTED = 未执行：工站无法记录
    .next = 请叫管理员。
refused-NO_SUPERVISORS = 未执行：此工站没有登记主管
    .next = 请叫管理员。
refused-NOT_QUARANTINED = 未执行：它已不在搁置中
    .next = 请扫描设备。
refused-ALREADY_ENDED = 未执行：它已完成或已取消
    .next = 无需再做什么。
refused-NOT_REWORKABLE = 未执行：没有可替换的证书
    .next = 请扫描设备。
refused-ALREADY_SUPERSEDED = 未执行：已有更新的取代它
    .next = 查找该设备，打开最新的。
refused-NEW_KEY_UNSUPPORTED = 未执行：此设备只存一个密钥
    .next = 用原密钥重新发证。
refused-DEVICE_SCRAPPED = 未执行：此设备已报废
    .next = 放入报废品。
refused-NOT_HARDWARE = 未执行：它不是因硬件而被搁置
    .next = 取消它，然后将另一硬件认证为该设备。
refused-OTHER_STATION = 未执行：此设备的证书由另一工站签发
    .next = 请在那个工站报废。
refused-AUTHORITY_AWAY = 未执行：CA 不在线
    .next = CA 恢复后再试。
refused-AUTHORITY_REFUSES_STATION = 未执行：CA 不允许此工站执行
    .next = 请叫管理员。
refused-CHECKPOINT_DUE = 尚无证明：工站的下一个检查点会覆盖它
    .next = 一分钟后再试。
refused-NOT_ISSUED = 没有证明：尚无证书
    .next = 设备完成后再试。
refused-PROOF_TOO_LARGE = 证明太大，无法在此画面下载
    .next = 请叫管理员。
refused-LOG_UNREADABLE = 没有证明：无法读取工站日志
    .next = 请叫管理员。

## 记录的每一步。

record-requested = 已请求
record-device-identified = 已识别设备
record-key-generation-started = 开始生成密钥
record-key-generated = 已生成密钥
record-residency-proven = 已证明密钥在设备内
record-request-signed = 已签署请求
record-submitted = 已提交给 CA
record-send-started = 开始发送
record-not-taken = CA 未接收
record-in-doubt = 存疑
record-resubmitted = 再次提交
record-surplus = 多余的证书
record-sealed = CA 已为设备加密
record-issued = 证书已签发
record-refused = 被 CA 拒绝
record-write-started = 开始写入
record-written = 已写入
record-verified = 已在设备上验证
record-completed = 已完成
record-failed = 已停止
record-quarantined = 已搁置
record-confirmed = 已向 CA 确认
record-device-checked = 已与日志核对
record-resumed = 再次扫描
record-released = 主管已放行
record-cancelled = 主管已取消
