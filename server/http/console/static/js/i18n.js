/** The console's words in English and Chinese. Elements name theirs by data-i18n. */

import { $ } from './dom.js';

const WORDS = {
  skip: ['Skip to the content', '跳到正文'],
  sections: ['Sections', '栏目'],
  speak: ['Speak', '朗读'],
  voices: ['Voices', '声音'],
  compare: ['Compare', '对比'],
  cluster: ['Cluster', '集群'],
  useIt: ['Use it', '接入'],
  theme: ['Dark or light', '深色或浅色'],
  textLabel: ['What shall it say?', '要说什么？'],
  examples: ['Examples', '示例'],
  speakButton: ['Speak', '朗读'],
  stop: ['Stop', '停止'],
  download: ['Download', '下载'],
  whatWillBeSaid: ['What will be said', '将怎样读'],
  voice: ['Voice', '声音'],
  hearSample: ['Hear a sample', '试听'],
  style: ['Style', '风格'],
  standardStyle: ['default', '默认'],
  language: ['Language', '语言'],
  auto: ['Automatic', '自动'],
  chinese: ['Chinese', '中文'],
  english: ['English', '英文'],
  speed: ['Speed', '语速'],
  format: ['File format', '文件格式'],
  seed: ['Seed', '种子'],
  random: ['random', '随机'],
  result: ['Result', '结果'],
  waveform: ['Waveform of the speech', '语音波形'],
  firstAudio: ['First sound', '首个声音'],
  length: ['Length', '时长'],
  rtf: ['Real-time factor', '实时率'],
  node: ['Node', '节点'],
  recent: ['Last utterances', '最近的语音'],
  historyEmpty: ['What you let it say appears here, and stays in this browser.', '朗读过的内容会出现在这里，只保存在此浏览器中。'],
  replay: ['Replay', '重放'],
  reuse: ['Use this text', '使用此文本'],
  storedVoices: ['Stored voices', '已存的声音'],
  addVoice: ['Add a voice', '添加声音'],
  voiceName: ['Name', '名称'],
  store: ['Store the voice', '保存声音'],
  consent: ['Who agreed to the use of this voice, and how', '谁同意使用这个声音，以何种方式'],
  storing: ['Checking and storing …', '正在检查并保存……'],
  stored: ['Stored', '已保存'],
  misfit: ['What is said in it does not fit the recording, so only the timbre is used.', '填写的内容与录音不符，因此只使用音色。'],
  delete: ['Delete', '删除'],
  deleted: ['Deleted', '已删除'],
  reallyDelete: ['Delete this voice?', '要删除这个声音吗？'],
  reallyDeleteStyle: ['Delete this style?', '要删除这个风格吗？'],
  keys_required: ['This server has no API keys and listens beyond this machine, so nobody can store voices on it. Start it on 127.0.0.1, or give it keys.', '此服务器没有 API 密钥且对外监听，因此不能保存声音。请在 127.0.0.1 上启动，或为它设置密钥。'],
  insufficient_scope: ['Your key may speak, but not store voices: that needs the scope “voices”.', '你的密钥可以朗读，但不能保存声音，需要 voices 权限。'],
  voices_read_only: ['This server stores no voices: start it with GLMTTS_VOICES_DIR set to a folder for them.', '此服务器不保存声音：启动时用 GLMTTS_VOICES_DIR 指定保存的文件夹。'],
  standard: ['default', '默认'],
  recordFirst: ['Record something, or choose a file first.', '请先录音或选择文件。'],
  nameFirst: ['The voice needs a name.', '请填写名称。'],
  record: ['Record', '录音'],
  stopRecording: ['Stop recording', '结束录音'],
  useOwn: ['Use a voice of your own', '用自己的声音'],
  cloneInstead: ['Clone a voice without storing it', '克隆声音而不保存'],
  chooseFile: ['Choose a file …', '选择文件……'],
  level: ['Level', '音量'],
  recordGuide: ['3 to 10 seconds of one person, without music or echo.', '3 到 10 秒，单人说话，无音乐和回声。'],
  transcript: ['What is said in it', '录音里说的话'],
  transcriptHint: ['word for word; without it only the timbre is used', '逐字填写；不填则只使用音色'],
  good: ['A good recording.', '录音质量良好。'],
  goodSoFar: ['Good so far: stop whenever you like.', '目前良好，可随时结束。'],
  keepTalking: ['Keep talking …', '请继续说……'],
  tooShort: ['Shorter than 3 seconds.', '短于 3 秒。'],
  tooLong: ['Longer than 30 seconds.', '长于 30 秒。'],
  clipped: ['Too loud: the peaks are clipped.', '音量过大，波峰被削平。'],
  tooQuiet: ['Very quiet: speak up, or move closer.', '声音太小，请大声些或靠近麦克风。'],
  noisy: ['Noisy: the pauses are nearly as loud as the speech.', '噪声较大，停顿处几乎和说话一样响。'],
  notChecked: ['This browser cannot read the file; the server will check it.', '浏览器无法读取此文件，由服务器检查。'],
  noMicrophone: ['The browser gave no microphone. It needs permission, and https or localhost.', '浏览器未提供麦克风，需要授权，并通过 https 或 localhost 访问。'],
  compareButton: ['Speak both', '朗读两者'],
  nodes: ['Nodes', '节点'],
  load: ['Load', '负载'],
  version: ['Version', '版本'],
  region: ['Region', '区域'],
  languages: ['Languages', '语言'],
  rates: ['Rates', '采样率'],
  device: ['Device', '设备'],
  checks: ['Checks and metadata', '检查与元数据'],
  thisNode: ['this node', '本节点'],
  handedOut: ['handed out to clients', '会分配给客户端'],
  notHandedOut: ['not handed out', '不会分配给客户端'],
  inFlight: ['running', '处理中'],
  queued: ['queued', '排队'],
  notReady: ['not ready', '未就绪'],
  thisNodeIs: ['This node is ', '本节点'],
  disabled: ['not part of a cluster: Consul is turned off', '未加入集群：Consul 已关闭'],
  registering: ['about to register', '即将注册'],
  registered: ['registered', '已注册'],
  stalled: ['registered, and its engine makes no progress', '已注册，但引擎没有进展'],
  retrying: ['not registered yet, and keeps trying', '尚未注册，正在重试'],
  conflict: ['not registered: another node has its name', '未注册：另一节点使用了相同的名称'],
  no_address: ['not registered: clients could not reach it', '未注册：客户端无法访问其地址'],
  left: ['no longer registered', '已注销'],
  consulSilent: ['Consul cannot be asked', '无法查询 Consul'],
  servesAlone: ['Who has its address can still use it', '知道地址的客户端仍可使用它'],
  listed: ['nodes in Consul, of which clients are handed', '个节点在 Consul 中，会分配给客户端的有'],
  drain: ['Drain this node', '排空本节点'],
  reallyDrain: ['This node will leave the cluster, finish its requests, and end. Go on?', '本节点将退出集群，处理完请求后结束。继续吗？'],
  draining: ['This node is draining.', '本节点正在排空。'],
  sameRequest: ['The same request', '同样的请求'],
  sameRequestHint: ['What is set under Speak, for your own program.', '把“朗读”中的设置用在你自己的程序里。'],
  copy: ['Copy', '复制'],
  copied: ['Copied', '已复制'],
  keyTitle: ['This server asks for a key', '此服务器需要密钥'],
  keyHint: ['It stays in this tab, and is forgotten with it.', '只保存在此标签页中，关闭即忘。'],
  key: ['API key', 'API 密钥'],
  changeKey: ['Key', '密钥'],
  continue: ['Continue', '继续'],
  ownRecording: ['Your own voice', '自己的声音'],
  waiting: ['Waiting for the first sound …', '等待首个声音……'],
  speaking: ['Speaking', '正在朗读'],
  finished: ['Finished', '已完成'],
  stopped: ['Stopped', '已停止'],
  characters: ['characters', '字'],
  correct: ['How is this read? Pinyin with tones (chong2 qing4) or ARPAbet (R EH1 D); empty removes the correction.', '怎样读？带声调的拼音（chong2 qing4）或 ARPAbet（R EH1 D）；留空则取消更正。'],
  correctHint: ['Choose a character or word to correct how it is read. Corrections stay in this browser.', '点选字词可更正读音，更正保存在此浏览器中。'],
  exampleEnglish: ['English', '英文'],
  exampleChinese: ['Chinese', '中文'],
  exampleMixed: ['Both', '中英混合'],
  exampleNumbers: ['Numbers', '数字'],
  exampleParagraph: ['A paragraph', '段落'],
  synthetic: ['All speech on this page is made by a machine.', '本页所有语音均由人工智能合成。'],
  apiPages: ['The API', 'API 文档'],
};

let language = 0;
const listeners = [];

/** The text of a key in the chosen language. */
export const t = (key) => WORDS[key]?.[language] ?? key;

/** Whether the chosen language is Chinese. */
export const isChinese = () => language === 1;

/** Calls `listener` at each change of language. */
export const onLanguage = (listener) => listeners.push(listener);

/** Puts the chosen language's words into the page. */
export function translate() {
  document.documentElement.lang = language ? 'zh-CN' : 'en';
  for (const element of document.querySelectorAll('[data-i18n]')) element.textContent = t(element.dataset.i18n);
  for (const element of document.querySelectorAll('[data-i18n-label]')) element.setAttribute('aria-label', t(element.dataset.i18nLabel));
  for (const element of document.querySelectorAll('[data-i18n-placeholder]')) element.placeholder = t(element.dataset.i18nPlaceholder);
  const other = language ? 'English' : '中文';
  Object.assign($('language'), { textContent: other, ariaLabel: other, lang: language ? 'en' : 'zh' });
  for (const listener of listeners) listener();
}

/** The browser's language at first, then the one chosen here. */
export function setUpLanguage() {
  const wanted = localStorage.getItem('glmtts-language') ?? navigator.language;
  language = Number(wanted.startsWith('zh'));
  $('language').addEventListener('click', () => {
    language = 1 - language;
    localStorage.setItem('glmtts-language', language ? 'zh' : 'en');
    translate();
  });
  translate();
}
